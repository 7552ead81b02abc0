"""A pod's last wait, beside a real `tritonserver` on which somebody plays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from services.client.grpc import SessionOptions, open_session
from services.inference import departure
from services.inference.server import InferenceServer, ServerConfig
from services.processes import free_port

NewServer = Callable[..., InferenceServer]


@pytest.fixture
def server(new_fake_server: NewServer, tmp_path) -> InferenceServer:
    config = ServerConfig(
        ready_timeout_seconds=60, exit_timeout_seconds=3, metrics_port=free_port()
    )
    with new_fake_server(tmp_path, num_slots=2, server=config) as running:
        yield running


def test_it_ends_after_the_last_session_which_plays_on_meanwhile(server: InferenceServer) -> None:
    keyboard, mouse = np.zeros((40, 6), np.float32), np.zeros((40, 2), np.float32)
    address = f"--metrics=http://127.0.0.1:{server.metrics_port}/metrics"
    program = [sys.executable, "-m", departure.__name__, "--leave-seconds=0", address]
    with open_session(server.address, SessionOptions()) as session:
        leaving = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
        assert leaving.stderr is not None
        waits = json.loads(leaving.stderr.readline())
        assert (waits["event"], waits["sessions"]) == ("departure_waits", 1)
        session.send_actions(keyboard, mouse)
        session.finish()
        assert [frame.frame_index for frame in session.frames()] == list(range(1, 41))
    assert leaving.wait(timeout=30) == 0
    last = json.loads(leaving.stderr.read().splitlines()[-1])
    assert (last["event"], last["sessions"]) == ("departure_over", 0)


def test_it_ends_at_once_when_nobody_plays(server: InferenceServer) -> None:
    address = f"--metrics=http://127.0.0.1:{server.metrics_port}/metrics"
    assert departure.main(["--leave-seconds=0", "--drain-seconds=600", address]) == 0
