"""The drill on a machine that is made up: a clock that only moves when somebody sleeps."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from components.task_status import TaskStatus
from pipelines.kill_drill import Finding, draw_moments, findings, merged, run_drill
from pipelines.run_record import RunResult
from services.processes import ProcessIdentity
from worldloom.errors import MachineError

SECONDS = {"ingest": 4.0, "train": 10.0, "promote": 1.0}
EXPECTED = {task: {"artifact": f"sha256:{task}"} for task in SECONDS}


class FakeRuns:
    """Runs tasks one after another on a clock of its own."""

    def __init__(self, *, loses_work_of: str = "", differs_after_kill: str = "") -> None:
        self.time = 0.0
        self.done: set[str] = set()
        self.ended: dict[Path, dict[str, TaskStatus]] = {}
        self.started: dict[Path, float] = {}
        self.reused: dict[Path, set[str]] = {}
        self.killed: list[str] = []
        self.orphans = 0
        self.loses_work_of = loses_work_of
        self.differs_after_kill = differs_after_kill
        self.breaks = False
        self.forgets = False

    def start(self) -> Path:
        folder = Path(f"run{len(self.started)}")
        self.started[folder] = self.time
        self.reused[folder] = self.done - {self.loses_work_of}
        return folder

    def resume(self, folder: Path) -> Path:
        assert folder in self.ended
        return self.start()

    def is_live(self, folder: Path) -> bool:
        return folder not in self.ended and not self._is_over(folder)

    def statuses(self, folder: Path) -> Mapping[str, TaskStatus]:
        return self.ended.get(folder) or self._now(folder)

    def has_said(self, folder: Path, task: str, event: str) -> bool:
        if event == "step_resumes":
            return task in self.killed and not self.forgets
        return self.statuses(folder)[task].state in {"running", "done"}

    def kill(self, pid: int) -> Sequence[ProcessIdentity]:
        (folder,) = [folder for folder in self.started if folder not in self.ended]
        statuses = self._now(folder)
        (task,) = [s.task for s in statuses.values() if s.pid == pid and s.state == "running"]
        self.killed.append(task)
        self.done |= {s.task for s in statuses.values() if s.state == "done"}
        failed = statuses[task].model_copy(update={"state": "failed"})
        self.ended[folder] = statuses | {task: failed}
        return [ProcessIdentity(pid + 1000 + index, 0.0) for index in range(self.orphans)]

    def count_alive(self, processes: Sequence[ProcessIdentity]) -> int:
        return len(processes)

    def wait(self, folder: Path) -> RunResult:
        if self.breaks:
            return RunResult(state="failed", finished=self.time, message="the disk is full")
        if folder not in self.ended:
            self.time += 100
            self.ended[folder] = self._now(folder)
        return RunResult(state="done", finished=self.time)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def _is_over(self, folder: Path) -> bool:
        return all(status.state == "done" for status in self._now(folder).values())

    def _now(self, folder: Path) -> dict[str, TaskStatus]:
        left = self.time - self.started[folder]
        statuses = {}
        for pid, (task, seconds) in enumerate(SECONDS.items(), start=100):
            takes = 0.0 if task in self.reused[folder] else seconds
            state = "done" if left > takes else "running" if left > 0 else "waiting"
            text = f"sha256:{task}" + ("?" if task == self.differs_after_kill else "")
            statuses[task] = TaskStatus(
                task=task,
                state=state,
                reused=None if state == "waiting" else task in self.reused[folder],
                pid=None if state == "waiting" else pid,
                outputs={"artifact": text} if state == "done" else {},
            )
            left -= takes
        return statuses


def drilled(runs: FakeRuns, moments: Mapping[str, float]) -> dict[str, Finding]:
    drill = run_drill(runs, moments)
    return {finding.task: finding for finding in findings(runs, drill, EXPECTED)}


def test_moments_are_drawn_within_what_a_task_takes_and_follow_the_seed() -> None:
    for seed in range(20):
        drawn = draw_moments(SECONDS, list(SECONDS), random.Random(seed))
        assert all(0 < seconds < SECONDS[task] for task, seconds in drawn.items())
    again = draw_moments(SECONDS, list(SECONDS), random.Random(19))
    assert again == drawn
    assert draw_moments(SECONDS, ["train"], random.Random(0)).keys() == {"train"}


def test_each_task_is_killed_once_at_its_moment_and_the_run_resumed() -> None:
    runs = FakeRuns()
    moments = {"ingest": 1.0, "train": 7.0, "promote": 0.5}
    found = drilled(runs, moments)
    assert runs.killed == ["ingest", "train", "promote"]
    assert len(runs.started) == 4
    for task, seconds in moments.items():
        assert found[task].killed_after_seconds == pytest.approx(seconds, abs=0.05)
        assert found[task].resumed
        assert found[task].is_good(was_to_be_killed=True)


def test_a_task_that_is_not_named_is_left_alone_and_compared_nevertheless() -> None:
    runs = FakeRuns()
    found = drilled(runs, {"train": 5.0})
    assert runs.killed == ["train"]
    assert found["ingest"].killed_after_seconds is None
    assert found["ingest"].digests_equal
    assert found["ingest"].is_good(was_to_be_killed=False)


def test_a_task_that_ends_before_its_moment_does_not_count_as_survived() -> None:
    runs = FakeRuns()
    found = drilled(runs, {"ingest": 4.5, "train": 2.0})
    assert runs.killed == ["train"]
    assert found["ingest"].killed_after_seconds is None
    assert not found["ingest"].is_good(was_to_be_killed=True)


def test_other_digests_are_named() -> None:
    found = drilled(FakeRuns(differs_after_kill="train"), {"train": 5.0})
    assert found["train"].differing == ("artifact",)
    assert not found["train"].is_good(was_to_be_killed=True)
    assert found["promote"].digests_equal


def test_finished_work_that_is_done_again_is_no_resuming() -> None:
    found = drilled(FakeRuns(loses_work_of="ingest"), {"train": 5.0})
    assert found["train"].resumed is False
    assert not found["train"].is_good(was_to_be_killed=True)


def test_a_step_that_begins_from_nothing_again_has_not_gone_on() -> None:
    runs = FakeRuns()
    runs.forgets = True
    found = drilled(runs, {"train": 5.0})
    assert found["train"].resumed
    assert found["train"].went_on is False
    assert not found["train"].is_good(was_to_be_killed=True)


def test_processes_left_behind_are_a_fault() -> None:
    runs = FakeRuns()
    runs.orphans = 2
    found = drilled(runs, {"ingest": 1.0})
    assert found["ingest"].orphans == 2
    assert not found["ingest"].is_good(was_to_be_killed=True)


def test_a_run_that_fails_by_itself_stops_the_drill() -> None:
    runs = FakeRuns()
    runs.breaks = True
    with pytest.raises(MachineError, match="the disk is full"):
        run_drill(runs, {})


def test_of_two_drills_a_fault_counts_and_else_the_kill() -> None:
    missed = Finding("train", digests_equal=True)
    hit = Finding("train", digests_equal=True, killed_after_seconds=2.0, resumed=True, went_on=True)
    broken = Finding("train", digests_equal=False, differing=("weights",))
    assert merged([], [missed]) == [missed]
    assert merged([missed], [hit]) == [hit]
    assert merged([hit], [missed]) == [hit]
    assert merged([broken], [hit]) == [broken]
    assert merged([hit], [broken]) == [broken]
