"""A machine that will not do is told so."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.checks.check import Check, State
from cli.checks.machine import check_cores, check_disk, check_memory, check_ports, check_python

GIB = 1 << 30


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        (check_python((3, 11)), State.OK),
        (check_python((3, 12)), State.OK),
        (check_python((3, 13)), State.FAIL),
        (check_python((3, 10)), State.FAIL),
        (check_cores(2), State.OK),
        (check_cores(1), State.WARN),
        (check_memory(8 * GIB, 7 * GIB), State.OK),
        (check_memory(8 * GIB, 2 * GIB), State.WARN),
        (check_memory(4 * GIB, 3 * GIB), State.FAIL),
        (check_disk(Path("/tmp/none/such"), 20 * GIB), State.OK),
        (check_disk(Path("/tmp/none/such"), 5 * GIB), State.WARN),
        (check_disk(Path("/tmp/none/such"), GIB), State.FAIL),
    ],
)
def test_limits(checks: list[Check], state: State) -> None:
    assert [check.state for check in checks] == [state]
    assert bool(checks[0].mend) == (state is not State.OK)


def test_a_taken_port_fails_and_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        [check] = check_ports([port])
        assert (check.state, check.found) == (State.FAIL, f"taken: {port}")
    assert check_ports([])[0].state is State.OK
