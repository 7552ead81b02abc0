"""`worldloom serve`: refusals that need no server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.main import run_command
from services.processes import free_port


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WORLDLOOM_STORE", raising=False)
    return tmp_path / "home"


def test_taken_port_exits_with_9(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run_command(["serve", "--port", str(port)]) == 9
    assert f"port {port} on 127.0.0.1 is already taken" in capsys.readouterr().err


def test_absent_champion_exits_with_8(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--port", str(free_port())]) == 8
    assert "has no champion yet: worldloom pipeline run makes one" in capsys.readouterr().err


def test_unknown_release_exits_with_8(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--release", "latest", "--port", str(free_port())]) == 8
    assert "'latest' is neither a digest" in capsys.readouterr().err
