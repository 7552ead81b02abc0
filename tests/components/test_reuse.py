"""Whether a step's result is taken again, and what is said if not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.reuse import StepRequest, judge
from components.step_record import StepRecord, step_key, write_step_record
from worldloom.store import FolderStore

CLIPS = "sha256:" + "c" * 64
REQUEST = StepRequest(
    step="train_vae",
    code="sha256:code",
    code_files={"worldloom/a.py": "1", "worldloom/b.py": "2"},
    config={"learner": {"rate": 0.1}, "steps": 5},
    parents={"clips": CLIPS},
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Return a store in which the request's step has finished."""
    store = FolderStore(tmp_path / "store")
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "weights").write_text("1")
    digest = store.put(folder, kind="vae-checkpoint", config={}, parents={})
    config, parents = dict(REQUEST.config), {"clips": CLIPS}
    record = StepRecord(
        step=REQUEST.step,
        key=step_key(REQUEST.step, REQUEST.code, json.dumps(config), parents),
        config=config,
        parents=parents,
        code=REQUEST.code,
        code_files=dict(REQUEST.code_files),
        outputs={"vae": digest},
        seconds=60.0,
        started="2026-01-01",
        provenance={},
    )
    write_step_record(store, record)
    return store


def test_the_same_request_is_answered_from_the_record(store: FolderStore) -> None:
    verdict = judge(store, REQUEST)
    assert verdict.reused is True
    assert set(verdict.outputs) == {"vae"}
    assert verdict.expected_seconds == 60.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"config": {"learner": {"rate": 0.2}, "steps": 6}},
            "config changed: learner.rate 0.1 -> 0.2, steps 5 -> 6",
        ),
        ({"parents": {"clips": "sha256:" + "d" * 64}}, "parent changed: clips"),
        (
            {"code": "x", "code_files": {"worldloom/a.py": "9", "worldloom/c.py": "3"}},
            "code changed: worldloom/a.py, worldloom/c.py (new), worldloom/b.py (gone)",
        ),
        ({"step": "train_transformer"}, "first time"),
    ],
)
def test_what_changed_is_named(change: dict, reason: str, store: FolderStore) -> None:
    verdict = judge(store, replace(REQUEST, **change))
    assert verdict.reused is False
    assert verdict.reason == reason
    assert verdict.outputs == {}


def test_an_unknown_input_decides_unless_something_else_changed(store: FolderStore) -> None:
    unknown = replace(REQUEST, parents={"clips": None})
    assert judge(store, unknown).reused is None
    changed = replace(unknown, config={"learner": {"rate": 0.1}, "steps": 9})
    assert judge(store, changed).reason == "config changed: steps 5 -> 9"


def test_many_changes_are_cut_short(store: FolderStore) -> None:
    config = {"learner": {"rate": 0.1}, "steps": 5, **{f"k{i}": i for i in range(5)}}
    assert judge(store, replace(REQUEST, config=config)).reason.endswith("and 2 more")
