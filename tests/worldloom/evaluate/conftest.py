"""Held-out clips of the procedural world that turn, walk and come back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worldloom.data.schema import Clip
from worldloom.data.sources.agent import Trajectory
from worldloom.data.sources.procedural import ProceduralConfig, capture_clip

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find `walkers` and `records`

MIN_TURNING_FRAMES = 20


def turning_clip(trajectory: Trajectory, first_seed: int) -> Clip:
    """The first clip of a kind whose camera turns, left at least as long as right."""
    config = ProceduralConfig(supersample=1)
    for seed in range(first_seed, first_seed + 32):
        clip = capture_clip(config, seed=seed, split="test", num_frames=49, trajectory=trajectory)
        yaw = clip.mouse[:, 1]
        if (abs(yaw) >= 0.1).sum() >= MIN_TURNING_FRAMES and yaw.sum() <= 1e-6:
            return clip
    raise AssertionError(trajectory)


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    return [turning_clip("palindrome", 100), turning_clip("free", 200), turning_clip("spin", 300)]
