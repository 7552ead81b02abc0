"""The step's interface: what goes in, what comes out, what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.promotion.component import promote
from components.promotion.config import PromoteStepConfig
from components.promotion.promote import STEP, incumbent_at_first, run, whole_decision
from components.runtime import StepContext
from services.registry.promotion import Decision, Outcome
from worldloom.config import parse_config
from worldloom.errors import ConfigError, TrackingError
from worldloom.store import FolderStore
from worldloom.train.tracking import NullTracker


def context(folder: Path) -> StepContext[PromoteStepConfig]:
    return StepContext(
        config=PromoteStepConfig(),
        parents={"release": "sha256:" + "a" * 64, "report": "sha256:" + "b" * 64},
        store=FolderStore(folder),
        scratch=folder,
        tracker=NullTracker(),
    )


def test_the_interface_on_the_cluster_has_the_steps_outputs() -> None:
    assert set(promote.component_spec.outputs) == set(STEP.outputs)


def test_without_a_registry_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="expected the address of the model registry"):
        run(context(tmp_path))


@pytest.mark.parametrize("values", [{"model_name": "a'b"}, {"lease_seconds": 0}, {"alais": "x"}])
def test_settings_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_config(PromoteStepConfig, values)


def test_who_was_champion_at_first_is_remembered_over_a_kill(tmp_path: Path) -> None:
    assert incumbent_at_first(context(tmp_path)) == ""
    (tmp_path / "incumbent.txt").write_text("sha256:" + "c" * 64)
    assert incumbent_at_first(context(tmp_path)) == "sha256:" + "c" * 64


@pytest.mark.parametrize(
    ("decision", "incumbent", "expected"),
    [
        ("already-champion", "other", "promoted"),
        ("already-champion", "", "promoted"),
        ("already-champion", "mine", "already-champion"),
        ("promoted", "other", "promoted"),
        ("refused", "other", "refused"),
    ],
)
def test_a_promotion_that_was_killed_after_its_move_is_a_promotion(
    decision: Decision, incumbent: str, expected: str
) -> None:
    outcome = Outcome(decision=decision, reasons=(), version="1", release="mine")
    assert whole_decision(outcome, "mine", incumbent) == expected
