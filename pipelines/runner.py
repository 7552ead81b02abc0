"""The process that works on one local run: `python -m pipelines.runner <run folder>`.

It calls the very pipeline that compiles for the cluster, under `kfp.local` with subprocesses. The
tasks report for themselves (`components.local_report`); what is left to tell is how it ended.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from components.local_report import RUN_FOLDER_VARIABLE, RUNNER_PID_VARIABLE, TMPDIR_VARIABLE
from components.starter import STARTER_VARIABLE
from components.task_status import TaskStatus, write_status
from pipelines.compile import build_pipeline
from pipelines.definition import find_pipeline
from pipelines.resources import LOCAL_PROFILE
from pipelines.run_record import RunRecord, RunResult, read_run, task_statuses, write_result
from worldloom.errors import MachineError, WorldloomError
from worldloom.log import configure_logging, log_event

logger = logging.getLogger(__name__)

_KILLED_EXIT_CODE = 137
# Threads that wait for each other spin for milliseconds by default, which makes a step take many
# times as long on cores that something else uses too; so they go to sleep sooner.
_SPINS = "1000"


def main(folder: Path) -> int:
    """Work on a run until its end and return its exit code."""
    configure_logging()
    record = read_run(folder)
    _set_environment(folder, record)
    try:
        with _tracking(folder, record):
            _run_pipeline(folder, record)
    except WorldloomError as error:
        result = _failure(folder, str(error), error.exit_code)
    except Exception as error:
        logger.exception("run_failed")
        result = _failure(folder, f"{type(error).__name__}: {error}".splitlines()[0], 1)
    else:
        result = RunResult(state="done", finished=time.time())
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    write_result(folder, result)
    log_event(logger, "run_ended", run_id=folder.name, state=result.state, message=result.message)
    return result.exit_code


def _set_environment(folder: Path, record: RunRecord) -> None:
    home = folder.parents[1]
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    os.environ |= {
        "WORLDLOOM_HOME": str(home),
        "WORLDLOOM_STORE": record.store,
        "WORLDLOOM_RUN_ID": record.run_id,
        STARTER_VARIABLE: record.starter,
        RUN_FOLDER_VARIABLE: str(folder),
        RUNNER_PID_VARIABLE: str(os.getpid()),
    }


@contextmanager
def _tracking(folder: Path, record: RunRecord) -> Iterator[None]:
    """Give the tasks an MLflow run of this pipeline run to nest theirs in."""
    if not record.tracking:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield
        return
    from components.tracking import begin_pipeline_run, end_pipeline_run
    from services.tracking_server import TrackingServer

    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    with ExitStack() as stack:
        uri = given
        if not given:
            server = TrackingServer(folder.parents[1])
            stack.push(server)  # a server that is slow to answer is stopped too
            uri = server.start()
        tags = {"worldloom.pipeline": record.pipeline, "worldloom.preset": record.preset}
        experiment_id, run_id = begin_pipeline_run(uri, name=record.run_id, tags=tags)
        os.environ |= {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_EXPERIMENT_ID": experiment_id,
            "MLFLOW_RUN_ID": run_id,
        }
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            end_pipeline_run(uri, run_id, succeeded=succeeded)


def _run_pipeline(folder: Path, record: RunRecord) -> None:
    """Run the graph.

    `kfp.local` writes the interpreter's path unquoted into a shell line, and leaves one small file
    per task in the temporary folder: so the interpreter is found through PATH, and the folder is
    the run's own.
    """
    from kfp import local

    pipeline = build_pipeline(find_pipeline(record.pipeline), LOCAL_PROFILE)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "kfp"),
        workspace_root=str(folder / "workspace"),
        raise_on_error=True,
    )
    interpreter = Path(sys.executable)
    if not interpreter.with_name("python3").exists():
        message = f"no python3 beside {interpreter}, expected one: KFP's tasks are started by it"
        raise MachineError(message)
    os.environ |= {
        "PATH": os.pathsep.join([str(interpreter.parent), os.environ.get("PATH", os.defpath)]),
        TMPDIR_VARIABLE: os.environ.get("TMPDIR", ""),
        "TMPDIR": str(folder / "tmp"),
    }
    sys.executable = "python3"
    pipeline(**record.arguments)


def _failure(folder: Path, message: str, exit_code: int) -> RunResult:
    """Return how a run failed: by what the task that stopped it said, if one did."""
    for status in task_statuses(folder):
        if status.state == "running":
            status = _killed(status)
            write_status(folder, status)
        if status.state == "failed":
            message = f"task {status.task} failed: {status.error}"
            exit_code = status.exit_code or 1
            break
    return RunResult(state="failed", finished=time.time(), message=message, exit_code=exit_code)


def _killed(status: TaskStatus) -> TaskStatus:
    alive = status.pid is not None and psutil.pid_exists(status.pid)
    told = "it still runs" if alive else "it was killed"
    seconds = None if status.started is None else round(time.time() - status.started, 3)
    return status.model_copy(
        update={
            "state": "failed",
            "error": told,
            "exit_code": _KILLED_EXIT_CODE,
            "seconds": seconds,
        }
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
