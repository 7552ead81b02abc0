"""`worldloom serve` on a real release: what is streamed is what the library generates."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from services import contract
from services.client.grpc import SessionOptions, describe
from services.client.grpc.stream import EventStream
from services.contract import SessionError
from services.processes import LOOPBACK, ManagedProcess, free_port
from services.recording import play_walk, walk_frames
from worldloom.actions import Actions
from worldloom.camera import Intrinsics
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VAEDecoder, VAEEncoder
from worldloom.rollout.config import ReleaseConfig, WorldEntry
from worldloom.rollout.release import load_release, write_release

SERVE = "import sys; from cli.main import run_command; sys.exit(run_command(sys.argv[1:]))"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained release")
    transformer_config, vae_config = TransformerConfig(), VAEConfig()
    generator = torch.Generator().manual_seed(0)
    transformer = WorldModelTransformer(transformer_config)
    torch.nn.init.normal_(transformer.head.weight, std=0.05, generator=generator)
    config = ReleaseConfig(
        transformer=transformer_config,
        intrinsics=Intrinsics.from_fov(64, 64),
        height=64,
        width=64,
        worlds=(WorldEntry(name="noise", prompt="a noisy room", pitch_radians=0.1),),
    )
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    write_release(
        folder,
        config,
        transformer=transformer,
        encoder=VAEEncoder(vae_config),
        decoder=VAEDecoder(vae_config),
        images={"noise": image},
    )
    return folder


@pytest.fixture(scope="module")
def served(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home, port = tmp_path_factory.mktemp("home of serve"), free_port()
    environment = {**os.environ, "WORLDLOOM_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = ManagedProcess(
        "worldloom serve",
        [sys.executable, "-c", SERVE, "serve", "--release", str(release), "--port", str(port)],
        environment,
        home / "serve.log",
    )
    address = f"{LOOPBACK}:{port}"
    with process:
        process.wait_until(lambda: "next: worldloom play" in "\n".join(process.log_tail()), 200)
        yield address
        os.kill(process.pid, signal.SIGTERM)
        assert process._process is not None
        assert process._process.wait(timeout=60) == 0
    with pytest.raises(SessionError, match="does not answer"):
        describe(address, timeout_seconds=5)


@pytest.mark.timeout(400)
def test_streamed_frames_are_those_of_the_library(release: Path, served: str) -> None:
    actions = Actions.still(30)
    actions.keyboard[:, 0] = 1
    actions.mouse[12:, 1] = 0.2
    result = play_walk(served, actions, SessionOptions(world="noise", seed=3))
    streamed = walk_frames(result)
    opened = load_release(release)
    world = opened.worlds[0]
    session = opened.open_session(
        image=world.image, prompt=world.prompt, seed=3, pitch_radians=world.pitch_radians
    )
    whole = Actions.still(36)
    whole.keyboard[:30], whole.mouse[:30] = actions.keyboard, actions.mouse
    segments = [session.generate_segment(whole[start : start + 12]) for start in (0, 12, 24)]
    expected = np.concatenate([world.image[None], *segments])[:31]
    assert streamed.shape == expected.shape
    difference = np.abs(streamed.astype(int) - expected).mean(axis=(1, 2, 3))
    assert difference.max() < 12  # what JPEG costs on noise; another frame differs by more
    others = np.abs(streamed[1:].astype(int) - expected[:-1]).mean(axis=(1, 2, 3))
    assert np.median(others) > 2 * np.median(difference)


def played(stream: EventStream, session_id: str, actions: Actions, start: int) -> dict[int, bytes]:
    """Send a session's actions from one on; return the frames that come for them."""
    tensors = {"keyboard": actions.keyboard[start:], "mouse": actions.mouse[start:]}
    stream.send(contract.ActionsMessage(session_id=session_id, action_index=start), tensors)
    frames: dict[int, bytes] = {}
    while max(frames, default=0) < len(actions):
        received = stream.receive()
        frames.update(zip(received.frame_index, received.frames, strict=True))
        if isinstance(received.event, contract.FramesEvent):
            segment_index = received.event.segment_index
            stream.send(contract.FramesReceived(session_id=session_id, segment_index=segment_index))
    return frames


@pytest.mark.timeout(200)
def test_session_whose_stream_broke_goes_on_with_the_same_bytes(served: str) -> None:
    actions = Actions.still(48)
    actions.keyboard[:, 0] = 1
    actions.mouse[12:, 1] = 0.2
    walked = play_walk(served, actions, SessionOptions(seed=5)).frames
    session_id = uuid.uuid4().hex
    first, second = EventStream(served, 30.0), EventStream(served, 30.0)
    first.send(contract.SessionStart(session_id=session_id, seed=5, is_resumable=True))
    frames = played(first, session_id, actions[:36], 0)
    first.close(cancel=True)
    # As if only half of the second segment had arrived.
    second.send(contract.SessionResume(session_id=session_id, last_frame_index=18))
    ready = second.receive().event
    assert isinstance(ready, contract.SessionReady)
    assert (ready.next_action_index, ready.next_segment_index) == (36, 1)
    again = played(second, session_id, actions, 36)
    second.close(cancel=True)
    expected = {frame.frame_index: frame.jpeg for frame in walked}
    assert again == {index: expected[index] for index in range(19, 49)}
    assert frames == {index: expected.get(index, frames[0]) for index in range(37)}
