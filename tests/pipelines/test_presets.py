"""Every preset names tasks that there are, and settings that their configs accept."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import pytest

from pipelines.definition import PIPELINES
from pipelines.presets import PRESETS
from worldloom.config import JsonValue, parse_config

SETTINGS = [
    pytest.param(values, task, id=f"{preset}-{task}")
    for preset, tasks in PRESETS.items()
    for task, values in tasks.items()
]


@pytest.mark.parametrize(("values", "task"), SETTINGS)
def test_a_presets_settings_are_accepted(values: Mapping[str, JsonValue], task: str) -> None:
    entries = {name: entry for each in PIPELINES.values() for name, entry in each.entries.items()}
    module = importlib.import_module(entries[task])
    parse_config(module.STEP.config, values, where=task)


def test_the_presets_that_are_documented_are_there() -> None:
    assert set(PRESETS) == {"demo", "smallest"}
