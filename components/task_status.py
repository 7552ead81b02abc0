"""What a task of a local run says about itself: one small JSON file that other terminals read.

It knows the file's shape and how to write it whole. It does not know who starts tasks or what
they do.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from worldloom.config import Config, load_config

TaskState = Literal["waiting", "running", "done", "failed"]
STATUS_FILE = "status.json"
LOG_FILE = "log.txt"


class TaskStatus(Config):
    """The state of one task of one run."""

    task: str = Field(description="name of the task")
    state: TaskState = Field(default="waiting", description="where the task stands")
    reused: bool | None = Field(default=None, description="an earlier result was taken")
    reason: str = Field(default="", description="why it ran or was reused")
    started: float | None = Field(default=None, description="Unix time of its start, seconds")
    seconds: float | None = Field(default=None, description="duration, seconds")
    expected_seconds: float | None = Field(default=None, description="earlier duration, seconds")
    pid: int | None = Field(default=None, description="process that does the work")
    outputs: dict[str, str] = Field(default_factory=dict, description="output name to digest")
    exit_code: int | None = Field(default=None, description="exit code of a task that failed")
    error: str = Field(default="", description="one sentence on what went wrong")


def task_folder(run_folder: Path, task: str) -> Path:
    """Return the folder of one task within a run's folder."""
    return run_folder / "tasks" / task


def write_status(run_folder: Path, status: TaskStatus) -> None:
    """Write a task's status whole or not at all."""
    folder = task_folder(run_folder, status.task)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATUS_FILE, status.model_dump(mode="json"))


def read_status(run_folder: Path, task: str) -> TaskStatus:
    """Return a task's status; a task that never wrote one is waiting."""
    path = task_folder(run_folder, task) / STATUS_FILE
    if not path.is_file():
        return TaskStatus(task=task)
    return load_config(TaskStatus, path.read_text(), where=str(path))


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file in one step, so that a reader never sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    draft.replace(path)


def elapsed_seconds(status: TaskStatus) -> float:
    """Return how long a task has taken so far."""
    if status.seconds is not None:
        return status.seconds
    return 0.0 if status.started is None else max(0.0, time.time() - status.started)
