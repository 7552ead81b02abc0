"""A trained transformer as a folder: weights, shapes and how it is meant to be sampled.

    transformer.json         `ModelCheckpointConfig`
    transformer.safetensors  weights by the module's names, with INT8 layers where it has them

Base, student and quantized checkpoints share this layout. It does not know how they were trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from worldloom.errors import ArtifactError
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.quantize.convert import load_quantized
from worldloom.rollout.config import SamplerConfig
from worldloom.train.checkpoint import write_atomically, write_tensors
from worldloom.train.model_config import CONFIG_FILE, ModelCheckpointConfig, load_model_config

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "ModelCheckpointConfig",
    "load_model",
    "load_model_config",
    "save_model",
]

WEIGHTS_FILE = "transformer.safetensors"


def save_model(
    folder: Path,
    transformer: WorldModelTransformer,
    *,
    sampler: SamplerConfig,
    retrieval: RetrievalConfig,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a transformer into a folder; numbers that are not whole are stored as `dtype`."""
    config = ModelCheckpointConfig(
        transformer=transformer.config, sampler=sampler, retrieval=retrieval
    )
    tensors = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in transformer.state_dict().items()
    }
    write_tensors(folder / WEIGHTS_FILE, tensors)
    write_atomically(folder / CONFIG_FILE, (config.model_dump_json(indent=1) + "\n").encode())


def load_model(folder: Path) -> tuple[WorldModelTransformer, ModelCheckpointConfig]:
    """Return the transformer in fp32 (INT8 where it was converted), and what is known of it.

    Raises:
        ArtifactError: when a file is missing, unreadable or does not fit the shapes.
    """
    config = load_model_config(folder)
    path = folder / WEIGHTS_FILE
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        message = f"{path}: cannot be read ({error}), expected a transformer's weights"
        raise ArtifactError(message) from error
    with torch.random.fork_rng(devices=[]):
        transformer = WorldModelTransformer(config.transformer)
    load_quantized(transformer, tensors)
    return transformer.eval(), config
