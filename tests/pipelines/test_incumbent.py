"""Which release a run has to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import pipelines.incumbent
from pipelines.definition import PipelineDefinition, find_pipeline
from pipelines.incumbent import with_incumbent
from pipelines.local import RunRequest
from pipelines.plan import RunPlan, TaskPlan
from services.registry import ChampionRecord
from worldloom.errors import ConfigError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@dataclass(frozen=True)
class FakePreparedRun:
    """What is read of a prepared run."""

    request: RunRequest
    plan: RunPlan
    definition: PipelineDefinition = field(default_factory=lambda: find_pipeline("world_model"))
    arguments: dict[str, str] = field(default_factory=lambda: {"champion": ""})
    configs: dict[str, dict] = field(default_factory=dict)
    store: None = None

    def with_argument(self, name: str, value: str) -> FakePreparedRun:
        return replace(self, arguments={**self.arguments, name: value})


@pytest.fixture
def prepared(tmp_path: Path) -> FakePreparedRun:
    plan = RunPlan([TaskPlan("quantize", "reuse", "", outputs={"release": A})])
    return FakePreparedRun(RunRequest(home=tmp_path, store=str(tmp_path)), plan)


@pytest.fixture
def crown(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def crown(release: str, predecessor: str) -> None:
        record = ChampionRecord(
            model="worldloom",
            version="2",
            release=release,
            report="",
            predecessor_version="1",
            predecessor_release=predecessor,
            since="",
            audit_index=0,
            audit_hash="",
        )
        monkeypatch.setattr(pipelines.incumbent, "current_champion", lambda *_: record)

    monkeypatch.setattr(pipelines.incumbent, "current_champion", lambda *_: None)
    return crown


def _champion(prepared: FakePreparedRun, text: str = "auto") -> str:
    return with_incumbent(prepared, text).arguments["champion"]  # type: ignore[arg-type]


@pytest.mark.usefixtures("crown")
def test_without_a_champion_there_is_nothing_to_beat(prepared: FakePreparedRun) -> None:
    assert _champion(prepared) == ""


def test_another_release_has_to_beat_the_champion(
    prepared: FakePreparedRun, crown: Callable[[str, str], None]
) -> None:
    crown(B, "")
    assert _champion(prepared) == B


def test_the_champion_itself_is_compared_with_what_it_replaced(
    prepared: FakePreparedRun, crown: Callable[[str, str], None]
) -> None:
    crown(A, B)
    assert _champion(prepared) == B
    crown(A, "")
    assert _champion(prepared) == ""


def test_a_champion_can_be_named(
    prepared: FakePreparedRun, crown: Callable[[str, str], None]
) -> None:
    crown(B, "")
    assert _champion(prepared, "none") == ""
    assert _champion(prepared, A) == A
    with pytest.raises(ConfigError, match="expected auto, none or a sha256: digest"):
        _champion(prepared, "best")
