"""KFP's interfaces and the steps behind them name the same inputs and outputs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pipelines.compile import pipeline_ir
from pipelines.config import preset_values, resolve_configs
from pipelines.definition import find_pipeline
from pipelines.presets import PRESETS

DEFINITION = find_pipeline("world_model")


@pytest.mark.parametrize("name", ["world_model", "staged"])
def test_inputs_and_outputs_agree(tmp_path: Path, name: str) -> None:
    definition = find_pipeline(name)
    ir = pipeline_ir(definition, tmp_path)
    for task, entry in definition.entries.items():
        step = vars(importlib.import_module(entry))["STEP"]
        component = ir["components"][f"comp-{task.replace('_', '-')}"]  # type: ignore[index,call-overload]
        assert step.name == task
        inputs = set(component["inputDefinitions"]["parameters"])  # type: ignore[index,call-overload]
        assert inputs == {*step.parents, "config", "code"}, task
        outputs = set(component["outputDefinitions"]["parameters"])  # type: ignore[index,call-overload]
        assert outputs == set(step.outputs), task


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_the_steps(preset: str, tmp_path: Path) -> None:
    code = dict.fromkeys(DEFINITION.entries, "")
    values = preset_values(DEFINITION, preset)
    configs = resolve_configs(DEFINITION, values, [], code=code, cache=tmp_path)
    assert set(configs) == set(DEFINITION.entries)
