"""The folder of one local run and what it tells: `out/runs/<run id>/`.

`run.json` is the request, written once; `runner.json` names the process that works on it;
`result.json` is its end; `tasks/<task>/` holds a status and a log. Any terminal can read them.
It knows neither kfp nor how runs are started.
"""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from components.task_status import TaskStatus, read_status, write_json
from services.processes import ProcessIdentity
from worldloom.config import Config, load_config
from worldloom.errors import ConfigError

RunState = Literal["starting", "running", "done", "failed", "cancelled", "killed"]
RUN_FILE = "run.json"
RUNNER_FILE = "runner.json"
RESULT_FILE = "result.json"
RUNNER_LOG = "run.log"
_START_SECONDS = 30.0


class RunRecord(Config):
    """What a run was asked to do; enough to do it again."""

    run_id: str = Field(description="name of the run and of its folder")
    pipeline: str = Field(description="reference of the pipeline")
    preset: str = Field(description="preset the configuration started from")
    config_file: str = Field(default="", description="file of settings that was laid over it")
    overrides: tuple[str, ...] = Field(default=(), description="dotted.path=value settings")
    configs: dict[str, dict[str, JsonValue]] = Field(
        description="task to its resolved configuration"
    )
    arguments: dict[str, str] = Field(description="every pipeline parameter")
    tasks: tuple[str, ...] = Field(description="tasks in an order in which they can run")
    store: str = Field(description="address of the artifact store")
    tracking: bool = Field(default=True, description="log to MLflow")
    starter: str = Field(default="", description="folder of starter weights; empty: from nothing")
    created: float = Field(description="Unix time of the request, seconds")


class RunResult(Config):
    """How a run ended."""

    state: Literal["done", "failed", "cancelled"] = Field(description="how it ended")
    finished: float = Field(description="Unix time of the end, seconds")
    message: str = Field(default="", description="one sentence on a failure")
    exit_code: int = Field(default=0, description="exit code for the command line")


def runs_folder(home: Path) -> Path:
    """Return the folder that holds all runs."""
    return home / "runs"


def new_run_folder(home: Path) -> Path:
    """Make the folder of a new run; its name sorts by time."""
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(2)
    folder = runs_folder(home) / name
    folder.mkdir(parents=True)
    return folder


def write_run(folder: Path, record: RunRecord) -> None:
    """Write a run's request."""
    write_json(folder / RUN_FILE, record.model_dump(mode="json"))


def read_run(folder: Path) -> RunRecord:
    """Return a run's request."""
    return load_config(RunRecord, (folder / RUN_FILE).read_text(), where=str(folder / RUN_FILE))


def list_runs(home: Path) -> list[Path]:
    """Return the folders of all runs, oldest first."""
    return sorted(path.parent for path in runs_folder(home).glob(f"*/{RUN_FILE}"))


def find_run(home: Path, run_id: str) -> Path:
    """Return a run's folder; `latest` or the beginning of a name is enough.

    Raises:
        ConfigError: if no run or more than one fits.
    """
    runs = list_runs(home)
    if run_id == "latest":
        found = runs[-1:]
    else:
        found = [folder for folder in runs if folder.name.startswith(run_id)]
    if len(found) != 1:
        message = (
            f"run {run_id!r}: {len(found)} runs fit in {runs_folder(home)}, "
            "expected a name that `worldloom pipeline list` shows"
        )
        raise ConfigError(message)
    return found[0]


def write_runner(folder: Path, identity: ProcessIdentity) -> None:
    """Note which process works on a run."""
    write_json(folder / RUNNER_FILE, {"pid": identity.pid, "created": identity.created})


def runner_identity(folder: Path) -> ProcessIdentity | None:
    """Return the process that works, or worked, on a run."""
    path = folder / RUNNER_FILE
    if not path.is_file():
        return None
    value = json.loads(path.read_text())
    return ProcessIdentity(int(value["pid"]), float(value["created"]))


def write_result(folder: Path, result: RunResult) -> None:
    """Write how a run ended."""
    write_json(folder / RESULT_FILE, result.model_dump(mode="json"))


def read_result(folder: Path) -> RunResult | None:
    """Return how a run ended, or None if it has not, or was killed."""
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    return load_config(RunResult, path.read_text(), where=str(path))


def run_state(folder: Path) -> RunState:
    """Return where a run stands, by its files and by whether its process lives."""
    result = read_result(folder)
    if result is not None:
        return result.state
    identity = runner_identity(folder)
    if identity is not None:
        return "running" if identity.is_alive() else "killed"
    if time.time() - read_run(folder).created < _START_SECONDS:
        return "starting"
    return "killed"


def task_statuses(folder: Path) -> list[TaskStatus]:
    """Return the status of every task of a run, in order."""
    return [read_status(folder, task) for task in read_run(folder).tasks]
