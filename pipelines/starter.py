"""Starter weights of a run: which tasks begin from them, and the digests that make that visible.

The weights lie in a folder (`WORLDLOOM_STARTER`, or the one the project carries); a task's config
holds the digest of its part, so a run that begins elsewhere is another run. What such a run has
made is written as starter weights in 16 bits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import worldloom
from components.starter import STARTER_VARIABLE
from pipelines.definition import PipelineDefinition
from worldloom.config import JsonValue
from worldloom.errors import ConfigError
from worldloom.store import ArtifactStore

_WEIGHTS = {
    "train_vae": "vae/vae.safetensors",
    "train_transformer": "base/transformer.safetensors",
    "distil_student": "student/transformer.safetensors",
}


def default_starter_folder() -> Path:
    """Return the folder that the environment names, or the one that the project carries."""
    named = os.environ.get(STARTER_VARIABLE, "")
    return Path(named) if named else Path(worldloom.__file__).parent / "starter"


def starter_values(
    definition: PipelineDefinition, folder: Path
) -> Mapping[str, Mapping[str, JsonValue]]:
    """Return the settings that make a pipeline's tasks begin from starter weights.

    Raises:
        ConfigError: if a part is not there.
    """
    values: dict[str, Mapping[str, JsonValue]] = {}
    for task, name in _WEIGHTS.items():
        if task in definition.entries:
            values[task] = {"starter": _digest(folder / name)}
    return values


def export_starter(
    store: ArtifactStore, outputs: Mapping[str, Mapping[str, str]], out: Path
) -> dict[str, int]:
    """Write the VAE, base and student of a run into a starter folder; return bytes by part."""
    import torch

    from worldloom.model.vae.video_vae import load_vae, save_vae
    from worldloom.train.model_checkpoint import load_model, save_model

    vae_folder = out / "vae"
    vae_folder.mkdir(parents=True, exist_ok=True)
    save_vae(vae_folder, load_vae(store.fetch(outputs["train_vae"]["vae"])))
    for part, digest in (
        ("base", outputs["train_transformer"]["base"]),
        ("student", outputs["distil_student"]["student"]),
    ):
        (out / part).mkdir(parents=True, exist_ok=True)
        transformer, known = load_model(store.fetch(digest))
        save_model(
            out / part,
            transformer,
            sampler=known.sampler,
            retrieval=known.retrieval,
            dtype=torch.float16,
        )
    return {name: (out / name).stat().st_size for name in _WEIGHTS.values()}


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"starter weights {path}: {error.strerror}, expected them or --from-scratch"
        raise ConfigError(message) from error
    return "sha256:" + hashlib.sha256(content).hexdigest()
