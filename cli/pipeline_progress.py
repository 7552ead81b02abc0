"""How a run's progress is shown: bars with the time left on a terminal, plain lines elsewhere.

The time left is what the tasks took when they last ran, less what they have taken now.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import typer

from components.task_status import TaskStatus, elapsed_seconds
from pipelines.run_record import run_state, task_statuses

_TERMINAL_INTERVAL_SECONDS = 0.5
_PLAIN_INTERVAL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 30.0


def follow(folder: Path) -> None:
    """Show a run's progress on standard error until it ends."""
    if sys.stderr.isatty():
        _follow_on_a_terminal(folder)
    else:
        _follow_in_lines(folder)


def seconds_left(statuses: Iterable[TaskStatus]) -> float | None:
    """Return the time left by earlier durations; None if a task to come never ran."""
    left = 0.0
    for status in statuses:
        if status.state in {"waiting", "running"}:
            if status.expected_seconds is None:
                return None
            left += max(0.0, status.expected_seconds - elapsed_seconds(status))
    return left


def describe(status: TaskStatus) -> str:
    """Return one line on a task that has begun or ended."""
    because = f" ({status.reason})" if status.reason else ""
    if status.state == "running":
        expected = status.expected_seconds
        about = f", about {format_seconds(expected)}" if expected else ""
        return f"{status.task}: running{about}{because}"
    if status.state == "done":
        how = "reused" if status.reused else f"done in {format_seconds(status.seconds or 0.0)}"
        return f"{status.task}: {how}{because}"
    return f"{status.task}: {status.state} {status.error}".rstrip()


def format_seconds(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _is_live(folder: Path) -> bool:
    return run_state(folder) in {"starting", "running"}


def _follow_in_lines(folder: Path) -> None:
    told: dict[str, str] = {}
    beat = time.monotonic()
    while True:
        live = _is_live(folder)
        statuses = task_statuses(folder)
        for status in statuses:
            if status.state != "waiting" and told.get(status.task) != describe(status):
                told[status.task] = describe(status)
                typer.echo(told[status.task], err=True)
                beat = time.monotonic()
        if not live:
            return
        if time.monotonic() - beat > _HEARTBEAT_SECONDS:
            typer.echo(_heartbeat(statuses), err=True)
            beat = time.monotonic()
        time.sleep(_PLAIN_INTERVAL_SECONDS)


def _heartbeat(statuses: list[TaskStatus]) -> str:
    running = [s for s in statuses if s.state == "running"]
    what = ", ".join(f"{s.task} {format_seconds(elapsed_seconds(s))}" for s in running)
    left = seconds_left(statuses)
    about = "" if left is None else f", about {format_seconds(left)} left"
    return f"... {what or 'starting'}{about}"


def _follow_on_a_terminal(folder: Path) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    statuses = task_statuses(folder)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = {
            s.task: progress.add_task(s.task, total=None, start=False, left="") for s in statuses
        }
        while True:
            live = _is_live(folder)
            for status in task_statuses(folder):
                bar = bars[status.task]
                if status.state != "waiting" and not progress.tasks[bar].started:
                    progress.start_task(bar)
                progress.update(bar, **_bar_fields(status))  # type: ignore[arg-type]
                if status.state in {"done", "failed"}:
                    progress.stop_task(bar)
            if not live:
                return
            time.sleep(_TERMINAL_INTERVAL_SECONDS)


def _bar_fields(status: TaskStatus) -> dict[str, object]:
    if status.state == "done":
        return {"total": 1.0, "completed": 1.0, "left": describe(status).partition(": ")[2]}
    if status.state == "failed":
        return {"left": status.error or "failed"}
    expected, elapsed = status.expected_seconds, elapsed_seconds(status)
    if status.state == "waiting" or not expected:
        return {"left": ""}
    left = max(0.0, expected - elapsed)
    return {
        "total": expected,
        "completed": min(elapsed, 0.99 * expected),
        "left": f"{format_seconds(left)} left",
    }
