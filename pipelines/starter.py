"""What a run takes from starter weights: their digests, and the sizes they were trained with.

The weights lie in a folder (`WORLDLOOM_STARTER`, or the one the project carries); a task's config
holds the digest of its part, so a run that begins elsewhere is another run. Frames are recorded as
large as the transformer expects them, and it is sampled as it was taught to be: whoever names
another folder gets a run of that folder's size. It opens no weights and imports no torch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from components.starter import STARTER_VARIABLE
from pipelines.config import TaskValues, merged
from pipelines.definition import PipelineDefinition
from pipelines.fine_tuning import fine_tuning_values
from worldloom.config import JsonValue, resolved
from worldloom.distill.decoder_config import decoder_part
from worldloom.errors import ConfigError
from worldloom.legs.carried import CARRIED
from worldloom.train.model_config import load_model_config

_WEIGHTS = {
    "train_vae": "vae/vae.safetensors",
    "train_transformer": "base/transformer.safetensors",
    "distil_student": "student/transformer.safetensors",
}
_DECODER_REMOVED = 0.5
_DECODER = f"{decoder_part(_DECODER_REMOVED)}/decoder.safetensors"


def default_starter_folder() -> Path:
    """Return the folder that the environment names, or the one that the project carries."""
    named = os.environ.get(STARTER_VARIABLE, "")
    return Path(named) if named else CARRIED


def starter_values(definition: PipelineDefinition, folder: Path, preset: str) -> TaskValues:
    """Return the settings that make a pipeline's tasks begin from starter weights.

    Its rates are those of fine-tuning. A narrow decoder is taught further where the folder has one;
    any other part has to be there.

    Raises:
        ConfigError: if a part is not there.
        ArtifactError: if the shapes of a part are not there.
    """
    entries = definition.entries
    values: dict[str, dict[str, JsonValue]] = {
        task: {"starter": _digest(folder / name)}
        for task, name in _WEIGHTS.items()
        if task in entries
    }
    if "distil_decoder" in entries and values and (folder / _DECODER).is_file():
        values["distil_decoder"] = {
            "starter": _digest(folder / _DECODER),
            "objective": {"removed": _DECODER_REMOVED},
        }
    if values:
        asked = merged(_taught(folder, preset), values)
        values = {task: asked[task] for task in asked if task in entries}
    return values


def _taught(folder: Path, preset: str) -> TaskValues:
    """Return how the starter is taught further, and the sizes and samplers that it is used to."""
    base, student = (load_model_config(folder / part) for part in ("base", "student"))
    height, width = base.transformer.frame_size
    size: dict[str, JsonValue] = {"height": height, "width": width}
    trained: dict[str, JsonValue] = {
        "sampler": resolved(base.sampler),
        "objective": {"retrieval": resolved(base.retrieval)},
    }
    distilled: dict[str, JsonValue] = {"distillation": {"sampler": resolved(student.sampler)}}
    used_to: TaskValues = {
        "ingest": {"procedural": size, "vizdoom": size},
        "train_transformer": trained,
        "train_actions": {**trained, "transformer": resolved(base.transformer)},
        "train_memory": trained,
        "distil_student": distilled,
        "distil_cold_start": distilled,
        "distil_multi_segment": distilled,
    }
    return merged(fine_tuning_values(preset, base.transformer.frame_size), used_to)


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"starter weights {path}: {error.strerror}, expected them or --from-scratch"
        raise ConfigError(message) from error
    return "sha256:" + hashlib.sha256(content).hexdigest()
