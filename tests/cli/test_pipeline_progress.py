"""What people are told of a run's progress."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cli.pipeline_progress import describe, follow, format_seconds, seconds_left
from components.task_status import TaskStatus, write_status
from pipelines.run_record import RunRecord, RunResult, write_result, write_run


def test_the_time_left_is_what_tasks_took_before_less_what_they_took_now() -> None:
    statuses = [
        TaskStatus(task="a", state="done", seconds=3, expected_seconds=9),
        TaskStatus(task="b", state="running", started=time.time() - 10, expected_seconds=30),
        TaskStatus(task="c", expected_seconds=5),
    ]
    assert seconds_left(statuses) == pytest.approx(25, abs=1)
    assert seconds_left([*statuses, TaskStatus(task="d")]) is None


def test_one_line_per_task() -> None:
    running = TaskStatus(task="a", state="running", reason="first time", expected_seconds=75.0)
    assert describe(running) == "a: running, about 1 min 15 s (first time)"
    done = TaskStatus(task="a", state="done", reused=False, seconds=2.0, reason="first time")
    assert describe(done) == "a: done in 2.0 s (first time)"
    reused = TaskStatus(task="a", state="done", reused=True, reason="nothing changed")
    assert describe(reused) == "a: reused (nothing changed)"
    failed = TaskStatus(task="a", state="failed", error="it was killed")
    assert describe(failed) == "a: failed it was killed"
    assert format_seconds(3600) == "60 min 00 s"


def test_without_a_terminal_progress_is_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunRecord(
        run_id="r",
        pipeline="p",
        preset="demo",
        configs={},
        arguments={},
        tasks=("a", "b"),
        store="s",
        created=time.time(),
    )
    write_run(tmp_path, record)
    for task in record.tasks:
        write_status(tmp_path, TaskStatus(task=task, state="done", reused=True, reason="same"))
    write_result(tmp_path, RunResult(state="done", finished=time.time()))
    follow(tmp_path)
    assert capsys.readouterr().err == "a: reused (same)\nb: reused (same)\n"
