"""Walks of the tiny model's size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worldloom.data.schema import Clip
from worldloom.evaluate.protocol import CasesConfig, record_cases

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find `small_weights`

TINY_CASES = CasesConfig(
    world="procedural", path="palindrome", num_cases=3, num_frames=61, height=32, width=32
)


@pytest.fixture(scope="session")
def cases() -> list[Clip]:
    return record_cases(TINY_CASES)
