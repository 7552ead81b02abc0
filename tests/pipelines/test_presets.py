"""Every preset names tasks that there are, and settings that their configs accept."""

from __future__ import annotations

import importlib

import pytest

from pipelines.definition import PIPELINES
from pipelines.presets import PRESETS
from worldloom.config import parse_config

SETTINGS = [(preset, task) for preset, tasks in PRESETS.items() for task in tasks]


@pytest.mark.parametrize(("preset", "task"), SETTINGS)
def test_a_presets_settings_are_accepted(preset: str, task: str) -> None:
    entries = {name: entry for each in PIPELINES.values() for name, entry in each.entries.items()}
    module = importlib.import_module(entries[task])
    parse_config(module.STEP.config, PRESETS[preset][task], where=task)


def test_the_presets_that_are_documented_are_there() -> None:
    assert set(PRESETS) == {"demo", "smallest"}
