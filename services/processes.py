"""Child processes that are servers: started with a log file, waited for, stopped for certain.

It knows process groups, ports and log files, and ends only what it started itself (or what a
record written by it names, once the record's process is proved to be the same one). It does not
know what any server serves.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from worldloom.errors import MachineError, ServingError, WorldloomError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# glibc gives threads arenas of their own, and what thousands of sessions leave in them is seldom
# given back: servers that live for long get along with few.
FEW_ARENAS: Mapping[str, str] = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
_FIRST_PROBE_INTERVAL_SECONDS = 0.05
_LAST_PROBE_INTERVAL_SECONDS = 0.5
_LOG_TAIL_BYTES = 4096
_KILLED_SECONDS = 5.0


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def is_port_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free_port(port: int, what: str) -> int:
    """Return the port if it is free.

    Raises:
        MachineError: when something already listens there; says what wanted it.
    """
    if not is_port_free(port):
        message = (
            f"port {port} on {LOOPBACK} is already taken, {what} needs it: "
            "stop what listens there or choose another port"
        )
        raise MachineError(message)
    return port


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same id."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Return the identity of a living process, None when there is none."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time())
        except psutil.NoSuchProcess:
            return None

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        current = ProcessIdentity.of(self.pid)
        return current is not None and abs(current.created - self.created) < 1.0


def stop_group(identity: ProcessIdentity, *, grace_seconds: float = 10.0) -> bool:
    """End a process group by its leader: SIGTERM, then SIGKILL; True when it was alive.

    The leader must have been started as the leader of its own group, as `ManagedProcess` does.
    """
    if not identity.is_alive():
        return False
    _end_group(identity.pid, grace_seconds)
    return True


class ManagedProcess:
    """One server as a child process with its own process group and log file."""

    def __init__(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None, log_path: Path
    ) -> None:
        """Describe the process; `env` replaces the environment, None inherits it."""
        self.name = name
        self.argv = tuple(argv)
        self.env = None if env is None else dict(env)
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; only after `start`."""
        if self._process is None:
            message = f"{self.name} has not been started, so it has no process id"
            raise ValueError(message)
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The code that it ended with, minus the signal's number after one; None while it runs."""
        return None if self._process is None else self._process.poll()

    def identity(self) -> ProcessIdentity:
        """Return what another process needs to stop this one with `stop_group`."""
        return ProcessIdentity.of(self.pid) or ProcessIdentity(self.pid, 0.0)

    def start(self) -> None:
        """Start the process; its output is appended to the log file.

        Raises:
            MachineError: when the program does not exist or may not be executed.
        """
        if self.is_alive():
            message = f"{self.name} runs already as process {self.pid}"
            raise ValueError(message)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                message = f"{self.name} cannot be started: {self.argv[0]} ({error.strerror})"
                raise MachineError(message) from error
        log_event(logger, "process_started", name=self.name, pid=self.pid, log=str(self.log_path))

    def is_alive(self) -> bool:
        """Tell whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait_until(
        self,
        probe: Callable[[], bool],
        timeout_seconds: float,
        *,
        progress: Callable[[float], None] | None = None,
        error: type[WorldloomError] = ServingError,
        alive: Callable[[], bool] | None = None,
    ) -> float:
        """Wait until the probe says yes and return the seconds it took.

        Args:
            probe: asked again and again whether the server is ready.
            timeout_seconds: after so long the server counts as failed.
            progress: called with the seconds waited so far between two probes.
            error: class of the error that a failed start raises.
            alive: whether waiting makes sense at all; by default while the process lives.

        Raises:
            WorldloomError: of class `error`, when the process ends or the time is over.
        """
        started = time.monotonic()
        interval = _FIRST_PROBE_INTERVAL_SECONDS
        while True:
            is_alive = (alive or self.is_alive)()
            if is_alive and probe():
                return time.monotonic() - started
            elapsed = time.monotonic() - started
            if not is_alive or elapsed > timeout_seconds:
                raise error(self._failure(elapsed, alive=is_alive))
            if progress is not None:
                progress(elapsed)
            time.sleep(interval)
            interval = min(interval * 1.3, _LAST_PROBE_INTERVAL_SECONDS)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End the process and its group: SIGTERM, then SIGKILL after the grace time."""
        if self._process is None:
            return
        if not _end_group(self.pid, grace_seconds):
            log_event(logger, "process_killed", logging.WARNING, name=self.name, pid=self.pid)
        returncode = self._process.wait()
        log_event(logger, "process_stopped", name=self.name, pid=self.pid, code=returncode)
        self._process = None

    def log_tail(self, num_lines: int = 20) -> list[str]:
        """Return the last lines that the process wrote."""
        if not self.log_path.exists():
            return []
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-num_lines:]

    def __enter__(self) -> ManagedProcess:
        """Start the process for a with block."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the process."""
        self.stop()

    def _failure(self, elapsed: float, *, alive: bool) -> str:
        tail = self.log_tail(1)
        last = f", its last line: {tail[0].strip()[:300]}" if tail else ""
        if alive:
            state = f"was not ready after {elapsed:.0f} s"
        else:
            state = f"ended with code {self.exit_code} before it was ready"
        return f"{self.name} {state}{last} (log: {self.log_path})"


def _group_members(group: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                members.append(process)
        except ProcessLookupError:
            continue
    return members


def _end_group(group: int, grace_seconds: float) -> bool:
    """End a process group and wait until it is gone; True when SIGTERM was enough."""
    members = _group_members(group)
    _signal_group(group, signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=grace_seconds)
    if alive:
        _signal_group(group, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=_KILLED_SECONDS)
    return not alive


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
