"""Starter weights of a run: which tasks begin from them, and the digests that make that visible.

The weights lie in a folder (`WORLDLOOM_STARTER`, or the one the project carries); a task's config
holds the digest of its part, so a run that begins elsewhere is another run. It does not read
weights.
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


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"starter weights {path}: {error.strerror}, expected them or --from-scratch"
        raise ConfigError(message) from error
    return "sha256:" + hashlib.sha256(content).hexdigest()
