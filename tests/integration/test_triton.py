"""The real `tritonserver` of the wheel with a fake release: transport, credits, failures."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from cli.main import run_command
from services import contract
from services.client.decode import decode_frames
from services.client.grpc import (
    Session,
    SessionOptions,
    describe,
    open_session,
    play_actions,
)
from services.client.grpc.stream import EventStream
from services.contract import ErrorCode, SessionError
from services.inference.fake_generator import fake_colour
from services.inference.server import InferenceServer, ServerConfig
from services.processes import ProcessIdentity
from services.recording import play_walk
from worldloom.actions import Actions, write_actions
from worldloom.artifacts import build_manifest
from worldloom.errors import MachineError, ServingError

NewServer = Callable[..., InferenceServer]


@pytest.fixture(scope="module")
def server(
    new_fake_server: NewServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InferenceServer]:
    folder = tmp_path_factory.mktemp("a path with spaces")
    with new_fake_server(folder, num_slots=2) as running:
        yield running


def still(num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((num_frames, 6), np.float32), np.zeros((num_frames, 2), np.float32)


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "the condition did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - started


def num_sessions(server: InferenceServer) -> int:
    return describe(server.address).num_sessions


def test_frames_come_in_order_and_obey_their_actions(server: InferenceServer) -> None:
    keyboard, mouse = still(200)
    keyboard[::3, 0] = 1
    result = play_actions(server.address, keyboard, mouse, SessionOptions(world="other", seed=4))
    assert [frame.frame_index for frame in result.frames] == list(range(1, 201))
    assert [frame.action_index for frame in result.frames] == list(range(200))
    assert result.first_frame_seconds < 1.0
    pixels = decode_frames(frame.jpeg for frame in result.frames)
    expected = [fake_colour(index + 1, keyboard[index, 0], 4) for index in range(200)]
    assert np.abs(pixels.mean(axis=(1, 2)) - expected).max() < 4
    wait_for(lambda: num_sessions(server) == 0)


def test_two_sessions_run_side_by_side_and_a_third_is_refused(server: InferenceServer) -> None:
    sessions = [open_session(server.address, SessionOptions(seed=seed)) for seed in (1, 2)]
    with sessions[0], sessions[1]:
        with pytest.raises(SessionError, match="all 2 slots are in use") as caught:
            open_session(server.address)
        assert caught.value.is_retryable
        for session in sessions:
            session.send_actions(*still(12))
            session.finish()
        for session, seed in zip(sessions, (1, 2), strict=True):
            frames = list(session.frames())
            assert len(frames) == session.num_actions_received == 12
            pixels = decode_frames([frames[0].jpeg])
            assert abs(pixels[..., 2].mean() - fake_colour(1, 0.0, seed)[2]) < 4
    wait_for(lambda: num_sessions(server) == 0)


def test_cancelled_stream_frees_its_slot_within_a_segment(
    slow_seed: int, server: InferenceServer
) -> None:
    session = open_session(server.address, SessionOptions(seed=slow_seed))
    session.send_actions(*still(1200))
    next(session.frames())
    assert num_sessions(server) == 1
    session._stream.close(cancel=True)
    assert wait_for(lambda: num_sessions(server) == 0) < 1.0


def test_waiting_session_whose_stream_closes_frees_its_slot(server: InferenceServer) -> None:
    session = open_session(server.address)
    session._stream.close(cancel=True)
    assert wait_for(lambda: num_sessions(server) == 0) < 2.0


def test_closed_session_is_over_at_once(slow_seed: int, server: InferenceServer) -> None:
    session = open_session(server.address, SessionOptions(seed=slow_seed))
    session.send_actions(*still(1200))
    session.close()
    assert session.end is not None
    assert session.end.reason == "stopped"
    assert num_sessions(server) == 0


def test_forty_sessions_one_after_the_other(server: InferenceServer) -> None:
    for _ in range(40):
        assert len(play_actions(server.address, *still(13)).frames) == 13
    assert num_sessions(server) == 0


def received_segments(session: Session, seconds: float) -> int:
    """Read without acknowledging, as a reader that has stopped taking frames would."""
    count = 0
    while True:
        try:
            received = session._stream.receive(seconds)
        except SessionError as error:
            if error.code is not ErrorCode.TIMEOUT:
                raise
            return count
        count += isinstance(received.event, contract.FramesEvent)


def test_slow_reader_is_bounded_by_its_credits(server: InferenceServer) -> None:
    with open_session(server.address) as session:
        session.send_actions(*still(600))
        assert received_segments(session, 0.5) == 2
        session._stream.send(
            contract.FramesReceived(session_id=session.session_id, segment_index=0)
        )
        assert received_segments(session, 0.5) == 1
    wait_for(lambda: num_sessions(server) == 0)


def test_wrong_action_shape_is_an_error_event_that_names_it(server: InferenceServer) -> None:
    with open_session(server.address) as session:
        session.send_actions(np.zeros((12, 5)), np.zeros((12, 2)))
        with pytest.raises(SessionError, match=r"keyboard has shape \[12, 5\]") as caught:
            next(session.frames())
        assert caught.value.code is ErrorCode.BAD_TENSOR


def test_message_that_is_no_json_is_an_error_event(server: InferenceServer) -> None:
    stream = EventStream(server.address, 5.0)
    start = contract.SessionStart.model_construct(session_id="x" * 65)
    stream.send(start)
    event = stream.receive().event
    stream.close(cancel=False)
    assert isinstance(event, contract.ErrorEvent)
    assert event.code is ErrorCode.BAD_MESSAGE
    assert "session_id" in event.message


def test_own_start_image_reaches_the_session(server: InferenceServer) -> None:
    image = np.full((64, 64, 3), 77, np.uint8)
    with open_session(server.address, SessionOptions(image=image, prompt="a red room")) as session:
        assert session.ready.prompt == "a red room"
        assert abs(decode_frames([session.start_image_jpeg]).mean() - 77) < 2


def test_play_command_writes_the_walk(
    server: InferenceServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_actions(tmp_path / "actions.json", Actions.still(30))
    files = ["--actions", str(tmp_path / "actions.json"), "--out", str(tmp_path / "walk.mp4")]
    assert run_command(["play", *files, "--address", server.address, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["world"]) == (30, "grey")
    assert 0 < told["first_frame_seconds"] < 1
    assert told["frames_per_second"] > 0
    with av.open(str(tmp_path / "walk.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 31


def test_killed_server_is_one_clear_error(
    new_fake_server: NewServer, slow_seed: int, tmp_path: Path
) -> None:
    with new_fake_server(tmp_path) as server:
        session = open_session(server.address, SessionOptions(seed=slow_seed))
        session.send_actions(*still(1200))
        frames = session.frames()
        next(frames)
        assert server.pid is not None
        group = ProcessIdentity.of(server.pid)
        assert group is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(SessionError, match="does not answer or has died") as caught:
            list(frames)
        assert caught.value.code is ErrorCode.DISCONNECTED
        with pytest.raises(ServingError, match=f"server at {server.address} does not answer"):
            play_walk(server.address, Actions.still(12))
        session.close()
        assert not server.is_alive()


def test_stop_leaves_nothing_behind(new_fake_server: NewServer, tmp_path: Path) -> None:
    server = new_fake_server(tmp_path, server=ServerConfig(exit_timeout_seconds=1))
    server.start()
    session = open_session(server.address)
    runtime = server._runtime
    assert runtime is not None
    assert server.shared_memory_bytes > 0
    server.stop()
    session.close()
    assert not runtime.exists()
    assert server.shared_memory_bytes == 0
    assert not list(Path("/dev/shm").glob(f"{runtime.name}*"))


def test_taken_port_is_refused_before_anything_starts(
    new_fake_server: NewServer, tmp_path: Path, server: InferenceServer
) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    second = new_fake_server(tmp_path, server=ServerConfig(port=port))
    with pytest.raises(MachineError, match=f"port {port} on 127.0.0.1 is already taken"):
        second.start()
    assert not (tmp_path / "tritonserver.log").exists()


def test_flipped_byte_in_the_release_is_named(new_fake_server: NewServer, tmp_path: Path) -> None:
    release = tmp_path / "the release"
    release.mkdir()
    (release / "release.json").write_text("{}")
    manifest = build_manifest(release, kind="release", config={}, parents={})
    (release / "manifest.json").write_text(manifest.to_json())
    (release / "release.json").write_text("[]")
    server = new_fake_server(tmp_path, digest=manifest.digest)
    with pytest.raises(ServingError, match=r"cannot load the release: .*release\.json is damaged"):
        server.start()
    assert not server.is_alive()
