"""A release of the smallest world model; not a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny import FRAME_SIZE

from worldloom.rollout.config import ReleaseConfig, WorldEntry
from worldloom.rollout.release import write_release
from worldloom.rollout.world_model import WorldModel


def write_tiny_release(folder: Path, model: WorldModel) -> Path:
    """Write a model as a release with one world, a dark hall."""
    config = ReleaseConfig(
        transformer=model.transformer.config,
        intrinsics=model.intrinsics,
        height=FRAME_SIZE[0],
        width=FRAME_SIZE[1],
        worlds=(WorldEntry(name="hall", prompt="a hall"),),
    )
    write_release(
        folder,
        config,
        transformer=model.transformer,
        encoder=model.encoder,
        decoder=model.decoder,
        images={"hall": np.zeros((*FRAME_SIZE, 3), np.uint8)},
    )
    return folder
