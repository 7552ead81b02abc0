"""Clips for tests: small captures of the procedural world."""

from __future__ import annotations

import pytest

from worldloom.data.schema import Clip
from worldloom.data.sources.procedural import ProceduralConfig, capture_clip


@pytest.fixture(scope="session")
def clip() -> Clip:
    return capture_clip(
        ProceduralConfig(supersample=1),
        seed=2,
        split="train",
        num_frames=49,
        trajectory="palindrome",
    )


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    config = ProceduralConfig(supersample=1)
    return [
        capture_clip(config, seed=seed, split=split, num_frames=17)
        for split in ("train", "test")
        for seed in range(3)
    ]
