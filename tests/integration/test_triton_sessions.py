"""Sessions on the real `tritonserver` that outlive streams, processes and stops; what it counts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import tritonclient.http
import urllib3

from services import contract
from services.client.grpc import describe
from services.client.grpc.stream import EventStream
from services.contract import ErrorCode, SessionError
from services.inference.server import InferenceServer, ServerConfig
from services.processes import free_port

NewServer = Callable[..., InferenceServer]


@dataclass
class Player:
    """One session, by the contract's messages alone."""

    address: str
    session_id: str
    stream: EventStream = field(init=False)
    frames: dict[int, bytes] = field(default_factory=dict)

    def start(self, **fields: object) -> contract.SessionReady:
        return self._begin(contract.SessionStart(session_id=self.session_id, **fields))

    def resume(self, **fields: object) -> contract.SessionReady:
        message = contract.SessionResume(
            session_id=self.session_id, last_frame_index=max(self.frames), **fields
        )
        return self._begin(message)

    def _begin(self, message: contract.Message) -> contract.SessionReady:
        self.stream = EventStream(self.address, 20.0)
        self.stream.send(message)
        ready = self.expect(contract.SessionReady)
        assert isinstance(ready, contract.SessionReady)
        return ready

    def act(self, action_index: int, num_actions: int) -> None:
        """Press W in every third of the actions."""
        keyboard = np.zeros((num_actions, 6), np.float32)
        keyboard[:, 0] = [(action_index + number) % 3 == 0 for number in range(num_actions)]
        tensors = {"keyboard": keyboard, "mouse": np.zeros((num_actions, 2), np.float32)}
        message = contract.ActionsMessage(session_id=self.session_id, action_index=action_index)
        self.stream.send(message, tensors)

    def watch(self, last_frame_index: int) -> contract.FramesEvent:
        """Take and acknowledge segments up to the one with this frame; return its event."""
        while True:
            event = self.expect(contract.FramesEvent)
            assert isinstance(event, contract.FramesEvent)
            message = contract.FramesReceived(
                session_id=self.session_id, segment_index=event.segment_index
            )
            self.stream.send(message)
            if max(self.frames) >= last_frame_index:
                return event

    def expect(self, kind: type[contract.Event]) -> contract.Event:
        """Return the next event of a kind; an error is raised, answers are passed over."""
        while True:
            received = self.stream.receive()
            again = set(received.frame_index) & set(self.frames)
            assert not again, f"frames {sorted(again)} came twice"
            self.frames.update(zip(received.frame_index, received.frames, strict=True))
            if isinstance(received.event, contract.ErrorEvent):
                raise SessionError(received.event.code, received.event.message)
            if isinstance(received.event, kind):
                return received.event

    def drop(self) -> None:
        self.stream.close(cancel=True)


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(
    new_fake_server: NewServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InferenceServer]:
    folder = tmp_path_factory.mktemp("sessions")
    config = ServerConfig(
        http_port=free_port(),
        metrics_port=free_port(),
        ready_timeout_seconds=60,
        exit_timeout_seconds=3,
    )
    with new_fake_server(
        folder, store=str(folder / "store"), server=config, num_slots=4
    ) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(server: InferenceServer) -> dict[int, bytes]:
    player = Player(server.address, "undisturbed")
    player.start(seed=5)
    player.act(0, 120)
    player.watch(120)
    player.drop()
    return player.frames


def test_dropped_session_is_parked_and_goes_on(
    server: InferenceServer, undisturbed: dict[int, bytes]
) -> None:
    player = Player(server.address, "dropped")
    player.start(seed=5, is_resumable=True)
    player.act(0, 30)
    player.watch(24)
    player.drop()
    wait_for(lambda: describe(server.address).num_parked == 1)
    assert describe(server.address).num_sessions == 0
    ready = player.resume()
    assert (ready.is_resumed, ready.next_action_index, ready.next_segment_index) == (True, 30, 2)
    player.act(30, 90)
    player.watch(120)
    assert player.frames == undisturbed
    player.stream.send(contract.SessionStop(session_id="dropped"))
    player.expect(contract.SessionEnd)
    player.stream.close(cancel=False)
    assert describe(server.address).num_parked == 0


def test_stream_that_hangs_is_told_that_another_took_over(server: InferenceServer) -> None:
    old = Player(server.address, "twice")
    old.start(is_resumable=True)
    new = Player(server.address, "twice", frames=dict(old.frames))
    new.resume()
    end = old.expect(contract.SessionEnd)
    assert isinstance(end, contract.SessionEnd)
    assert end.reason == "taken_over"
    old.stream.close(cancel=False)
    new.act(0, 12)
    new.watch(12)
    new.stream.send(contract.SessionStop(session_id="twice"))
    new.expect(contract.SessionEnd)
    new.stream.close(cancel=False)


def test_unknown_session_cannot_be_resumed(server: InferenceServer) -> None:
    player = Player(server.address, "never seen", frames={0: b""})
    with pytest.raises(SessionError, match="is not here to be resumed") as caught:
        player.resume()
    assert caught.value.code is ErrorCode.UNKNOWN_SESSION
    player.stream.close(cancel=False)


def test_h264_from_the_server_can_be_decoded(server: InferenceServer) -> None:
    player = Player(server.address, "h264")
    assert player.start(encoding="h264").encoding == "h264"
    player.act(0, 24)
    player.watch(24)
    player.drop()
    decoder = av.CodecContext.create("h264", "r")
    units = [player.frames[index] for index in range(25)]
    pictures = [frame for unit in units for frame in decoder.decode(av.Packet(unit))]
    pictures += decoder.decode(None)
    assert [(frame.height, frame.width) for frame in pictures] == [(64, 64)] * 25


def test_stopped_processes_lose_no_session(
    server: InferenceServer, undisturbed: dict[int, bytes]
) -> None:
    player = Player(server.address, "frozen")
    player.start(seed=5)
    player.act(0, 60)
    player.watch(24)
    assert server.pid is not None
    root = psutil.Process(server.pid)
    processes = [root, *root.children(recursive=True)]
    for process in processes:
        process.suspend()
    time.sleep(3.0)  # what is tested is that 3 s do no harm
    # The model's process first: a server that wakes before it takes it for dead.
    for process in reversed(processes[1:]):
        process.resume()
    time.sleep(0.5)  # to be scheduled on a busy machine, and say that it lives
    root.resume()
    player.watch(60)
    player.act(60, 60)
    player.watch(120)
    assert player.frames == undisturbed
    player.drop()


def test_scrape_is_accepted_by_promtool(server: InferenceServer) -> None:
    port = server.metrics_port
    text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", timeout=5.0).data.decode()
    for name in ("sessions", "slots", "parked_sessions", "queued_actions", "min_slack_seconds"):
        assert f"# TYPE worldloom_engine_{name} gauge\n" in text
    for name in ("frames", "deadline_misses", "store_failures", "sessions_opened"):
        assert f"# TYPE worldloom_engine_{name}_total counter\n" in text
    assert 'worldloom_engine_sessions_ended_total{reason="stopped"}' in text
    assert 'worldloom_engine_action_to_frame_seconds_bucket{le="0.5"}' in text
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package is called prometheus)")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    # Triton's own names break the linter's rules (exit code 3); ours break none.
    assert checked.returncode in {0, 3}, checked.stderr
    assert "worldloom" not in checked.stdout + checked.stderr


def test_plain_http_client_sees_the_model(server: InferenceServer) -> None:
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http_port}")
    assert client.is_server_live()
    assert client.is_model_ready("world")
    inputs = [tensor["name"] for tensor in client.get_model_metadata("world")["inputs"]]
    assert inputs == [spec.name for spec in contract.INPUTS]
    client.close()


@dataclass(frozen=True)
class Holdings:
    """What the server's processes hold."""

    threads: int
    files: int
    shared_memory_bytes: int

    @classmethod
    def of(cls, server: InferenceServer) -> Holdings:
        assert server.pid is not None
        assert server._runtime is not None
        root = psutil.Process(server.pid)
        processes = [root, *root.children(recursive=True)]
        segments = Path("/dev/shm").glob(f"{server._runtime.name}*")
        return cls(
            sum(process.num_threads() for process in processes),
            sum(process.num_fds() for process in processes),
            sum(path.stat().st_size for path in segments),
        )


def churn(server: InferenceServer, num_cycles: int) -> None:
    """Open sessions and leave them in every way."""
    for cycle in range(num_cycles):
        player = Player(server.address, f"churn-{cycle % 7}-{time.monotonic_ns()}")
        player.start(is_resumable=cycle % 2 == 0, encoding=("jpeg", "h264")[cycle % 3 == 0])
        player.act(0, 12)
        if cycle % 3:
            player.watch(12)
            # This tritonserver loses a socket now and then if a stream is cancelled just as a
            # request is answered, so a client that can waits for its answers first.
            player.expect(contract.Acknowledged)
        if cycle % 4 == 0:
            player.stream.send(contract.SessionStop(session_id=player.session_id))
            player.expect(contract.SessionEnd)
        player.stream.close(cancel=cycle % 4 != 0)
        if cycle % 4:
            wait_for(lambda: describe(server.address).num_sessions == 0)


@pytest.mark.timeout(200)
def test_nothing_is_left_of_sessions_that_came_and_went(
    new_fake_server: NewServer, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with new_fake_server(
        tmp_path, store=str(store), max_parked_sessions=5, watch_seconds=0.02
    ) as server:
        churn(server, 30)
        before = Holdings.of(server)
        churn(server, 270)
        after = Holdings.of(server)
        description = describe(server.address)
        assert (description.num_sessions, description.num_parked) == (0, 5)
    assert after.threads <= before.threads + 3  # gRPC's own pool, as it likes
    assert after.files <= before.files + 2
    assert after.shared_memory_bytes <= before.shared_memory_bytes


@pytest.mark.timeout(120)
def test_another_process_goes_on_after_a_kill(
    new_fake_server: NewServer, tmp_path: Path, undisturbed: dict[int, bytes]
) -> None:
    config = ServerConfig(port=free_port(), exit_timeout_seconds=3)
    store = str(tmp_path / "store")
    with new_fake_server(tmp_path, store=store, server=config) as first:
        player = Player(first.address, "killed")
        player.start(seed=5, is_resumable=True)
        player.act(0, 60)
        event = player.watch(48)
        assert first.pid is not None
        os.killpg(first.pid, signal.SIGKILL)
        player.drop()
    with new_fake_server(tmp_path, store=store, server=config):
        ready = player.resume()
        assert ready.next_action_index >= event.durable_frame_index
        player.act(ready.next_action_index, 120 - ready.next_action_index)
        player.watch(120)
        assert player.frames == undisturbed
        player.drop()


@pytest.mark.timeout(120)
def test_stopping_server_hands_its_sessions_over(
    new_fake_server: NewServer, tmp_path: Path, undisturbed: dict[int, bytes]
) -> None:
    config = ServerConfig(port=free_port(), exit_timeout_seconds=1)
    store = str(tmp_path / "store")
    first = new_fake_server(tmp_path, store=store, server=config, durable_every_segments=1000)
    first.start()
    player = Player(first.address, "handed over")
    player.start(seed=5, is_resumable=True)
    player.act(0, 41)
    player.watch(36)
    with ThreadPoolExecutor(1) as aside:
        stopped = aside.submit(first.stop)
        end = player.expect(contract.SessionEnd)
        player.stream.close(cancel=False)
        stopped.result()
    assert isinstance(end, contract.SessionEnd)
    assert end.reason == "shutdown"
    with new_fake_server(tmp_path, store=store, server=config):
        ready = player.resume()
        assert ready.next_action_index == 41
        player.act(41, 79)
        player.watch(120)
        assert player.frames == undisturbed
        player.drop()
