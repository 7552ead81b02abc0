"""How a run's settings are layered, checked by each task's own class, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pipelines.config
from components.promotion.config import PromoteStepConfig
from pipelines.config import merged, preset_values, read_values, resolve_configs
from pipelines.definition import PipelineDefinition
from worldloom.config import Config
from worldloom.errors import ConfigError

DEFINITION = PipelineDefinition(
    "one", "nowhere", {"promote": "components.promotion.promote"}, {"champion": ""}
)
CODE = {"promote": "sha256:code"}


@pytest.fixture(autouse=True)
def config_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(_: str) -> type[Config]:
        return PromoteStepConfig

    monkeypatch.setattr(pipelines.config, "_config_class", known)


def test_a_preset_a_file_and_an_override_are_laid_over_each_other(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"promote": {"alias": "challenger", "actor": "file"}}))
    values = merged({"promote": {"model_name": "tiny"}}, read_values(DEFINITION, path))
    configs = resolve_configs(DEFINITION, values, ["promote.actor=me"], code=CODE, cache=tmp_path)
    assert configs["promote"] == {
        "model_name": "tiny",
        "alias": "challenger",
        "lease_seconds": 120.0,
        "actor": "me",
    }


def test_objects_within_objects_are_merged() -> None:
    below = {"t": {"learner": {"rate": 1, "decay": 2}, "steps": 3}}
    assert merged(below, {"t": {"learner": {"rate": 5}}}) == {
        "t": {"learner": {"rate": 5, "decay": 2}, "steps": 3}
    }


def test_a_resolved_config_is_kept_and_needs_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve_configs(DEFINITION, {}, ["promote.actor=me"], code=CODE, cache=tmp_path)

    def refuse(_: str) -> type[Config]:
        message = "imported"
        raise AssertionError(message)

    monkeypatch.setattr(pipelines.config, "_config_class", refuse)
    assert resolve_configs(DEFINITION, {}, ["promote.actor=me"], code=CODE, cache=tmp_path) == first
    with pytest.raises(AssertionError, match="imported"):
        resolve_configs(DEFINITION, {}, ["promote.actor=you"], code=CODE, cache=tmp_path)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("promote.aktor=me", r"promote.aktor: no such setting .*known: .*actor"),
        ("promote.lease_seconds=-1", r"promote.lease_seconds: .*greater than 0 .*-1"),
        ("promot.actor=me", r"promot: pipeline one has no such task; known: promote"),
        ("promote=me", r"expected task.dotted.path=value"),
        ("promote.actor", r"promote.actor|expected"),
    ],
)
def test_a_mistake_is_named(override: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve_configs(DEFINITION, {}, [override], code=CODE, cache=tmp_path)


def test_files_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(ConfigError, match="expected a JSON file"):
        read_values(DEFINITION, path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="an object of settings per task"):
        read_values(DEFINITION, path)


def test_unknown_presets_and_pipelines_are_refused() -> None:
    with pytest.raises(ConfigError, match="no preset 'big'; known: demo, smallest"):
        preset_values(DEFINITION, "big")
