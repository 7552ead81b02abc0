"""How a task of a local run reports: its status file, its log, and ending with its runner.

The runner names the run's folder and its own process in the environment; without them nothing here
is used. It does not know what the task does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.task_status import LOG_FILE, TaskStatus, read_status, task_folder, write_status

RUN_FOLDER_VARIABLE = "WORLDLOOM_RUN_FOLDER"
RUNNER_PID_VARIABLE = "WORLDLOOM_RUNNER_PID"
TMPDIR_VARIABLE = "WORLDLOOM_TMPDIR"


@dataclass
class Report:
    """What the work tells the status file."""

    reused: bool = False
    reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[], None] = lambda: None


@contextmanager
def reported(task: str) -> Iterator[Report]:
    """Keep the status of a task while its work runs; outside a local run, keep nothing."""
    report = Report()
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    if not folder:
        yield report
        return
    _end_with_the_runner()
    _restore_tmpdir()
    run_folder = Path(folder)
    _log_to(task_folder(run_folder, task) / LOG_FILE)
    status = read_status(run_folder, task).model_copy(
        update={"state": "running", "started": time.time(), "pid": os.getpid()}
    )
    write_status(run_folder, status)
    clock = time.monotonic()

    def so_far() -> TaskStatus:
        change = {"reused": report.reused, "reason": report.reason}
        return status.model_copy(update=change)

    report.announce = lambda: write_status(run_folder, so_far())
    try:
        yield report
    except BaseException as error:
        change = {"state": "failed", "error": _sentence(error), "exit_code": _exit_code(error)}
        write_status(run_folder, _ended(so_far(), clock, change))
        raise
    change = {"state": "done", "outputs": dict(report.outputs)}
    write_status(run_folder, _ended(so_far(), clock, change))


def _ended(status: TaskStatus, clock: float, change: Mapping[str, object]) -> TaskStatus:
    seconds = round(time.monotonic() - clock, 3)
    return status.model_copy(update={"seconds": seconds, **change})


def _sentence(error: BaseException) -> str:
    """Return what went wrong; a step that exits names its reason as the cause."""
    told = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ else error
    return f"{type(told).__name__}: {told}".splitlines()[0]


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 1


def _log_to(path: Path) -> None:
    """Send everything this process says, native libraries included, to the task's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _restore_tmpdir() -> None:
    """Take back the temporary folder that the runner set for KFP's own files."""
    if TMPDIR_VARIABLE in os.environ:
        original = os.environ.pop(TMPDIR_VARIABLE)
        if original:
            os.environ["TMPDIR"] = original
        else:
            os.environ.pop("TMPDIR", None)


def _end_with_the_runner() -> None:
    """Stop when the runner is gone: nobody would look at the result, and a new run may begin."""
    pid = int(os.environ.get(RUNNER_PID_VARIABLE, "0"))
    if not pid or sys.platform != "linux":
        return
    try:
        runner = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return

    def wait() -> None:
        select.select([runner], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="runner-watch", daemon=True).start()
