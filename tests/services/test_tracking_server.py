"""What can be known of the tracking server without starting one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from services.processes import free_port
from services.tracking_server import (
    TrackingServer,
    answers,
    mlflow_command,
    running_server,
    server_environment,
)
from worldloom.errors import MachineError, TrackingError


def test_a_folder_without_a_server_says_so(tmp_path: Path) -> None:
    assert running_server(tmp_path) is None
    with pytest.raises(TrackingError, match="no tracking server runs"):
        _ = TrackingServer(tmp_path).uri
    assert not TrackingServer(tmp_path).stop()


def test_a_record_of_a_dead_or_other_process_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    record = {"pid": os.getpid(), "created": 1.0, "port": free_port()}
    (tmp_path / "mlflow" / "server.json").write_text(json.dumps(record))
    assert running_server(tmp_path) is None
    assert not TrackingServer(tmp_path).stop()


def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = TrackingServer(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(MachineError, match="the tracking server needs it"):
            server.launch()


def test_nothing_answers_where_nothing_listens() -> None:
    assert not answers(f"http://127.0.0.1:{free_port()}")


def test_the_server_gets_no_job_workers_and_no_clients_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    env = server_environment()
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "MLFLOW_TRACKING_URI" not in env


def test_the_command_for_people_quotes_paths_with_spaces(tmp_path: Path) -> None:
    command = mlflow_command(tmp_path / "a home")
    assert f"'sqlite:///{tmp_path}/a home/mlflow/mlflow.db'" in command
