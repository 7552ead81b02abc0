"""Retraining on new clips: once per digest, and never because of itself."""

from __future__ import annotations

from pathlib import Path

from components.step_record import StepRecord, write_step_record
from pipelines.triggers import find_new_clips, fire_triggers, new_clips
from worldloom.store import FolderStore

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def _ingest(clips: str, started: str, run_id: str = "run-0") -> StepRecord:
    return _record("ingest", {}, {"clips": clips}, started, run_id)


def _record(
    step: str, parents: dict[str, str], outputs: dict[str, str], started: str, run_id: str
) -> StepRecord:
    return StepRecord(
        step=step,
        key=f"{step}{started}".replace(":", "").replace("-", ""),
        config={},
        parents=parents,
        code="",
        code_files={},
        outputs=outputs,
        seconds=1.0,
        started=started,
        provenance={"pipeline_run_id": run_id},
    )


def test_new_clips_are_told_oldest_first_and_once() -> None:
    records = [_ingest(B, "2026-02"), _ingest(A, "2026-01"), _ingest(A, "2026-03")]
    assert new_clips(records, {}) == [A, B]


def test_clips_that_were_trained_on_are_not_new() -> None:
    trained = _record("train_vae", {"clips": A}, {"vae": C}, "2026-02", "run-0")
    assert new_clips([_ingest(A, "2026-01"), trained], {}) == []


def test_clips_that_a_triggered_run_made_start_nothing() -> None:
    records = [_ingest(A, "2026-01"), _ingest(B, "2026-02", run_id="run-9")]
    assert new_clips(records, {A: {"clips": A, "run_id": "run-9"}}) == []
    assert new_clips(records, {A: {"clips": A, "run_id": "run-8"}}) == [B]


def test_each_digest_fires_exactly_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write_step_record(store, _ingest(A, "2026-01"))
    write_step_record(store, _ingest(B, "2026-02"))
    started: list[str] = []

    def start(digest: str) -> str:
        started.append(digest)
        assert fire_triggers(store, start) in ([], [(B, "run-2")])  # one that looks meanwhile
        return f"run-{len(started)}"

    fire_triggers(store, start)
    assert sorted(started) == [A, B]
    assert fire_triggers(store, start) == []
    assert find_new_clips(store) == []
