"""A drill: tasks of a local run are killed by SIGKILL, one after another, and the run resumed.

Each task is struck once, in its own process, after its step has begun and before it is usually
done. What the runs then hold is laid beside an undisturbed run. It starts runs as any terminal
would and knows nothing of what the tasks do.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from components.task_status import LOG_FILE, TaskStatus, task_folder
from pipelines.local import PreparedRun, prepare_run, resume_request, start_run, wait_for_run
from pipelines.run_record import RunResult, run_state, task_statuses
from services.processes import ProcessIdentity
from worldloom.errors import MachineError

_EARLIEST, _LATEST = 0.25, 0.8
_POLL_SECONDS = 0.02
_BEGUN_EVENT, _RESUMED_EVENT = "step_started", "step_resumes"
_SECONDS_TO_FALL = 60.0  # Ray's processes look for a vanished parent only now and then


class Runs(Protocol):
    """What the drill needs of a machine that runs pipelines."""

    def start(self) -> Path:
        """Start the run that is disturbed and return its folder."""

    def resume(self, folder: Path) -> Path:
        """Run a run's configuration again and return the new folder."""

    def is_live(self, folder: Path) -> bool:
        """Tell whether a run is under way."""

    def statuses(self, folder: Path) -> Mapping[str, TaskStatus]:
        """Return what the run's tasks say, by name."""

    def has_said(self, folder: Path, task: str, event: str) -> bool:
        """Tell whether a task's log names an event."""

    def kill(self, pid: int) -> Sequence[ProcessIdentity]:
        """Kill one process and return those that it had started."""

    def count_alive(self, processes: Sequence[ProcessIdentity]) -> int:
        """Tell how many of these processes do not end within a minute."""

    def wait(self, folder: Path) -> RunResult:
        """Wait for a run's end."""

    def now(self) -> float:
        """Return a clock's seconds."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True)
class Blow:
    """What happened when one task was to be killed.

    Attributes:
        task: which.
        killed_after_seconds: after its step's begin.
        offspring: processes that it had started.
    """

    task: str
    killed_after_seconds: float
    offspring: Sequence[ProcessIdentity] = ()


@dataclass
class Drill:
    """The runs of a drill, in order, and the blows by task.

    A blow stands with the number of the run that it stopped; the next run resumes it.
    """

    folders: list[Path]
    blows: dict[str, tuple[int, Blow]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What a drill found of one task.

    Attributes:
        task: which.
        killed_after_seconds: after its step's begin; None if it was not killed.
        resumed: the next run finished it and took everything finished before from the store.
        went_on: its step found what the killed one had left, or a finished result.
        orphans: processes that it had started and that did not end by themselves.
        digests_equal: its outputs are those of the undisturbed run.
        differing: names of the outputs that are not.
    """

    task: str
    digests_equal: bool
    killed_after_seconds: float | None = None
    resumed: bool | None = None
    went_on: bool | None = None
    orphans: int = 0
    differing: tuple[str, ...] = ()

    def is_good(self, *, was_to_be_killed: bool) -> bool:
        """Tell whether nothing is wrong with it."""
        if not self.digests_equal or self.orphans:
            return False
        return not was_to_be_killed or bool(self.resumed and self.went_on)


def draw_moments(
    seconds: Mapping[str, float], tasks: Sequence[str], generator: random.Random
) -> dict[str, float]:
    """Draw for each task when it is killed, within what its step usually takes."""
    return {task: seconds[task] * generator.uniform(_EARLIEST, _LATEST) for task in tasks}


def run_drill(
    runs: Runs, moments: Mapping[str, float], *, tell: Callable[[str], None] = lambda _: None
) -> Drill:
    """Run a pipeline to its end, killing each of these tasks once on the way.

    Args:
        runs: the machine.
        moments: task to seconds after its step's begin; one that ends before is not killed.
        tell: hears one line a blow.

    Raises:
        MachineError: if a run ends otherwise than by the drill's hand.
    """
    drill = Drill([runs.start()])
    pending = dict(moments)
    while pending:
        blow = _strike(runs, drill.folders[-1], pending)
        if blow is None:
            break
        tell(f"{blow.task}: killed after {blow.killed_after_seconds} s")
        del pending[blow.task]
        drill.blows[blow.task] = (len(drill.folders) - 1, blow)
        runs.wait(drill.folders[-1])
        drill.folders.append(runs.resume(drill.folders[-1]))
    result = runs.wait(drill.folders[-1])
    if result.state != "done":
        message = f"run {drill.folders[-1].name} {result.state}: {result.message}"
        raise MachineError(message)
    return drill


def findings(runs: Runs, drill: Drill, expected: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Lay a drill's outputs beside those of an undisturbed run, task by task."""
    final = runs.statuses(drill.folders[-1])
    return [_finding(runs, drill, task, outputs, final[task]) for task, outputs in expected.items()]


def merged(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Return one finding a task of two drills: a fault, else the one in which it was killed."""
    known = {finding.task: finding for finding in before}
    rows = []
    for new in after:
        old = known.get(new.task, new)
        was_hit = old.killed_after_seconds is not None
        keeps_old = not old.is_good(was_to_be_killed=was_hit) or (was_hit and new.digests_equal)
        rows.append(old if keeps_old else new)
    return rows


def _finding(
    runs: Runs, drill: Drill, task: str, expected: Mapping[str, str], final: TaskStatus
) -> Finding:
    names = expected.keys() | final.outputs.keys()
    differing = tuple(
        name for name in sorted(names) if expected.get(name) != final.outputs.get(name)
    )
    if task not in drill.blows:
        return Finding(task=task, digests_equal=not differing, differing=differing)
    index, blow = drill.blows[task]
    before = runs.statuses(drill.folders[index])
    after = runs.statuses(drill.folders[index + 1])
    done = [name for name, status in before.items() if status.state == "done"]
    kept = all(after[name].reused is not False for name in done)  # None: not looked at yet
    found_its_own = runs.has_said(drill.folders[index + 1], task, _RESUMED_EVENT)
    return Finding(
        task=task,
        killed_after_seconds=blow.killed_after_seconds,
        resumed=kept and after[task].state == "done",
        went_on=found_its_own or bool(after[task].reused),
        orphans=runs.count_alive(blow.offspring),
        digests_equal=not differing,
        differing=differing,
    )


def _strike(runs: Runs, folder: Path, moments: Mapping[str, float]) -> Blow | None:
    """Kill the first of these tasks whose moment comes; None if the run ends before."""
    begun: dict[str, float] = {}
    while runs.is_live(folder):
        for task, status in runs.statuses(folder).items():
            if task not in moments or status.state != "running" or status.pid is None:
                continue
            if task not in begun and runs.has_said(folder, task, _BEGUN_EVENT):
                begun[task] = runs.now()
            after = runs.now() - begun.get(task, runs.now())
            if task in begun and after >= moments[task]:
                return Blow(task, round(after, 2), runs.kill(status.pid))
        runs.sleep(_POLL_SECONDS)
    return None


class LocalRuns:
    """Runs of one prepared request on this machine."""

    def __init__(self, prepared: PreparedRun, *, tracking: bool = True) -> None:
        self._prepared = prepared
        self._tracking = tracking

    def start(self) -> Path:
        """Start the run that is disturbed and return its folder."""
        return start_run(self._prepared)

    def resume(self, folder: Path) -> Path:
        """Run a run's configuration again and return the new folder."""
        home = self._prepared.request.home
        return start_run(prepare_run(resume_request(folder, home=home, tracking=self._tracking)))

    def is_live(self, folder: Path) -> bool:
        """Tell whether a run is under way."""
        return run_state(folder) in {"starting", "running"}

    def statuses(self, folder: Path) -> Mapping[str, TaskStatus]:
        """Return what the run's tasks say, by name."""
        return {status.task: status for status in task_statuses(folder)}

    def has_said(self, folder: Path, task: str, event: str) -> bool:
        """Tell whether a task's log names an event."""
        path = task_folder(folder, task) / LOG_FILE
        return path.is_file() and event.encode() in path.read_bytes()

    def kill(self, pid: int) -> Sequence[ProcessIdentity]:
        """Kill one process and return those that it had started."""
        offspring = psutil.Process(pid).children(recursive=True)
        found = [ProcessIdentity.of(process.pid) for process in offspring]
        os.kill(pid, signal.SIGKILL)
        return [identity for identity in found if identity is not None]

    def count_alive(self, processes: Sequence[ProcessIdentity]) -> int:
        """Tell how many of these processes do not end within a minute."""
        deadline = self.now() + _SECONDS_TO_FALL
        alive = list(processes)
        while alive and self.now() < deadline:
            alive = [identity for identity in alive if identity.is_alive()]
            self.sleep(10 * _POLL_SECONDS)
        return len(alive)

    def wait(self, folder: Path) -> RunResult:
        """Wait for a run's end."""
        return wait_for_run(folder)

    def now(self) -> float:
        """Return a clock's seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)
