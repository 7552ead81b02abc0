"""A task's status file: read as it was written, never seen half."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from components.task_status import (
    STATUS_FILE,
    TaskStatus,
    elapsed_seconds,
    read_status,
    task_folder,
    write_status,
)
from worldloom.errors import ConfigError


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    status = TaskStatus(task="ingest", state="done", seconds=2.5, outputs={"clips": "sha256:0"})
    write_status(tmp_path, status)
    assert read_status(tmp_path, "ingest") == status
    write_status(tmp_path, status.model_copy(update={"state": "failed"}))
    assert read_status(tmp_path, "ingest").state == "failed"
    assert [path.name for path in task_folder(tmp_path, "ingest").iterdir()] == [STATUS_FILE]


def test_a_task_that_never_wrote_waits(tmp_path: Path) -> None:
    assert read_status(tmp_path, "ingest") == TaskStatus(task="ingest", state="waiting")


def test_a_damaged_status_is_named(tmp_path: Path) -> None:
    write_status(tmp_path, TaskStatus(task="ingest"))
    path = task_folder(tmp_path, "ingest") / STATUS_FILE
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"status\.json: not JSON"):
        read_status(tmp_path, "ingest")


def test_time_runs_from_the_start_to_the_end() -> None:
    assert elapsed_seconds(TaskStatus(task="a")) == 0
    assert elapsed_seconds(TaskStatus(task="a", started=1.0, seconds=4.0)) == 4
    assert elapsed_seconds(TaskStatus(task="a", started=time.time() - 5)) == pytest.approx(5, abs=1)
    assert elapsed_seconds(TaskStatus(task="a", started=time.time() + 60)) == 0
