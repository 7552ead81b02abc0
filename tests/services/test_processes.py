"""Servers as child processes: started, waited for, stopped with everything they started."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from services.processes import (
    ManagedProcess,
    ProcessIdentity,
    free_port,
    is_port_free,
    require_free_port,
    stop_group,
)
from worldloom.errors import MachineError, TrackingError


def python(code: str, folder: Path) -> ManagedProcess:
    return ManagedProcess("sleeper", [sys.executable, "-c", code], None, folder / "log" / "s.log")


def test_a_taken_port_is_refused_with_who_wanted_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match=rf"port {port} .* the viewer needs it"):
            require_free_port(port, "the viewer")
    assert is_port_free(free_port())


def test_wait_until_returns_when_the_probe_says_yes(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    opened = f"import time; open({str(ready)!r}, 'w').close()"
    code = f"{opened}; print('hello', flush=True); time.sleep(60)"
    server = python(code, tmp_path)
    server.start()
    try:
        seconds = server.wait_until(ready.exists, 10)
        assert 0 < seconds < 10
        assert server.is_alive()
    finally:
        server.stop()
    assert not server.is_alive()
    assert server.log_tail() == ["hello"]


def test_a_process_that_dies_is_reported_with_its_last_line_and_not_waited_for(
    tmp_path: Path,
) -> None:
    server = python("import sys; print('no such model'); sys.exit(3)", tmp_path)
    started = time.monotonic()
    with server, pytest.raises(TrackingError, match=r"ended with code 3 .*no such model"):
        server.wait_until(lambda: False, 60, error=TrackingError)
    assert time.monotonic() - started < 10


def test_a_process_that_never_gets_ready_is_reported_with_the_time(tmp_path: Path) -> None:
    server = python("import time; time.sleep(60)", tmp_path)
    with server, pytest.raises(TrackingError, match="was not ready after"):
        server.wait_until(lambda: False, 0.3, error=TrackingError)


@pytest.mark.slow
def test_stop_ends_grandchildren_and_processes_that_ignore_sigterm(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    server = python(code, tmp_path)
    server.start()
    server.wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, 10)
    server.stop(grace_seconds=0.5)
    assert [ProcessIdentity.of(int(pid)) for pid in pids.read_text().split()] == [None, None]


def test_stop_group_refuses_a_recycled_process_id(tmp_path: Path) -> None:
    server = python("import time; time.sleep(60)", tmp_path)
    with server:
        identity = server.identity()
        assert not stop_group(ProcessIdentity(identity.pid, identity.created - 100))
        assert server.is_alive()
        assert stop_group(identity)
        assert not identity.is_alive()


def test_a_program_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    server = ManagedProcess("mlflow", ["/no/such/program"], os.environ, tmp_path / "log")
    with pytest.raises(MachineError, match=r"mlflow cannot be started: /no/such/program"):
        server.start()
