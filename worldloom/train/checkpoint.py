"""Training checkpoints: one safetensors file, replaced in one rename, so it is whole or absent.

Tensors and a small JSON value go into a single file, so that no two files can disagree. It does
not know what the tensors mean, and it loads no pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from worldloom.config import JsonValue, canonical_json
from worldloom.errors import TrainingError

CHECKPOINT_NAME = "training.safetensors"
_METADATA_KEY = "worldloom_training"


@dataclass(frozen=True)
class TrainingCheckpoint:
    """What a run needs to go on: tensors by name, and plain values (step, history)."""

    tensors: dict[str, Tensor]
    values: dict[str, JsonValue]


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to a file that a reader sees whole or not at all, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")  # others may write it too
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to one safetensors file, atomically; the bytes follow from the values."""
    plain = {
        name: tensors[name].detach().to("cpu", copy=False).contiguous().clone()
        for name in sorted(tensors)
    }
    write_atomically(path, save(plain, dict(metadata) if metadata else None))


def save_checkpoint(folder: Path, checkpoint: TrainingCheckpoint) -> Path:
    """Replace the folder's checkpoint by this one and return its path."""
    path = folder / CHECKPOINT_NAME
    metadata = {_METADATA_KEY: canonical_json(checkpoint.values)}
    write_tensors(path, checkpoint.tensors, metadata)
    return path


def load_checkpoint(folder: Path) -> TrainingCheckpoint | None:
    """Return the folder's checkpoint, or None where there is none.

    Raises:
        TrainingError: for a file that is no training checkpoint.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        message = f"{path}: not a readable checkpoint ({error}); remove it to start again"
        raise TrainingError(message) from error
    if _METADATA_KEY not in metadata:
        message = f"{path}: holds no training state, expected a file that a training run wrote"
        raise TrainingError(message)
    values = json.loads(metadata[_METADATA_KEY])
    return TrainingCheckpoint(tensors=tensors, values=values)


def same_tensors(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Tell whether two sets of tensors are equal bit for bit."""
    return left.keys() == right.keys() and all(
        torch.equal(left[name].cpu(), right[name].cpu()) for name in left
    )
