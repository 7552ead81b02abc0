"""`worldloom play`: what is wrong is said in one sentence, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fake_gateway import FakeGateway

from cli.main import run_command
from services import protocol
from services.processes import free_port
from worldloom.actions import Actions, write_actions


def grey_jpeg(_frame_index: int, _action: list[float] | None) -> bytes:
    return cv2.imencode(".jpg", np.full((64, 64, 3), 99, np.uint8))[1].tobytes()


@pytest.fixture
def actions(tmp_path: Path) -> Path:
    path = tmp_path / "actions.json"
    write_actions(path, Actions.still(12))
    return path


def play(actions: Path, out: Path, *more: str) -> int:
    return run_command(["play", "--actions", str(actions), "--out", str(out), *more])


def test_actions_of_the_wrong_shape_exit_with_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "actions.json"
    path.write_text(json.dumps({"keyboard": [[0, 0, 0, 0]], "mouse": [[0, 0]]}))
    assert play(path, tmp_path / "walk.mp4") == 5
    assert "keyboard has shape [1, 4], expected [frames, 6]" in capsys.readouterr().err
    assert not (tmp_path / "walk.mp4").exists()


def test_dead_server_exits_with_8(
    actions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert play(actions, tmp_path / "walk.mp4", "--address", address) == 8
    told = capsys.readouterr().err
    assert f"the inference server at {address} does not answer" in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "walk.mp4").exists()


@pytest.mark.slow
def test_a_gateway_is_played_through_with_the_key_of_the_environment(
    actions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WORLDLOOM_API_KEY", raising=False)
    with FakeGateway(drop_at={5}, picture=grey_jpeg).serve_on_thread() as gateway:
        out = tmp_path / "walk.mp4"
        assert play(actions, out, "--address", gateway.url, "--seed", "3", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["world"]) == (12, "grey")
    [opened] = gateway.of_type(protocol.Open)
    assert opened.seed == 3
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 13


def test_a_gateway_that_does_not_answer_exits_with_8(
    actions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert play(actions, tmp_path / "walk.mp4", "--address", address) == 8
    assert f"ws{address.removeprefix('http')}/v1/session does not" in capsys.readouterr().err


def test_other_suffix_than_mp4_is_a_wrong_use(
    actions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(actions, tmp_path / "walk.gif") == 2
    assert ".mp4" in capsys.readouterr().err
