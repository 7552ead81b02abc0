"""The demo's walks: recorded actions in worlds that no training saw, played on a real server.

There are two, out and back the same way: one in a procedural world, one in a map of Freedoom that
is held out. A recording is the ground truth: the same start image, the same actions, and poses that
the actions integrate to, exactly or nearly. And there are commands: from one start image the same
seed is told different things.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worldloom.actions import Actions, write_actions
from worldloom.camera import Kinematics, integrate_poses
from worldloom.data.schema import Clip
from worldloom.errors import DataError

if TYPE_CHECKING:
    from services.client.grpc import PlayResult
    from services.release_source import ReleaseSource

FrameSize = tuple[int, int]

PROCEDURAL, FREEDOOM = "procedural", "freedoom"
ACTIONS_FILE = "actions.json"
FREEDOOM_ACTIONS_FILE = "freedoom_actions.json"
_FIRST_SEED = 31_000
_ATTEMPTS = 64
_SEGMENT_FRAMES = 12
_SESSION_SEED = 1
_MOST_METRES_OFF = 1e-3
_COMMAND_FRAMES = 24
_YAW_UNITS = 0.15
# Freedoom's engine lets a player slide along walls and glide to a stop; actions know neither.
_MOST_METRES_OFF_IN_FREEDOOM = 0.4


@dataclass(frozen=True)
class RecordedWalk:
    """A recording and the actions after its first frame."""

    name: str
    clip: Clip
    actions: Actions
    actions_file: Path


@dataclass(frozen=True)
class PlayedWalks:
    """What the server sent for each walk's actions and each command, a session each."""

    results: Sequence[PlayResult]
    commands: Mapping[str, PlayResult]
    release: ReleaseSource
    address: str
    server_seconds: float


def record_walks(out: Path, size: FrameSize, *, num_frames: int) -> list[RecordedWalk]:
    """Record a palindrome in each kind of held-out world; the actions go into `out`.

    A walk that bumps into a wall is passed over: a server does not know walls, so its poses would
    not be the recorded ones.

    Raises:
        DataError: when no walk without a collision is found, or the length does not fit.
    """
    from worldloom.data.captions import captioned

    if num_frames % _SEGMENT_FRAMES:
        message = f"--frames {num_frames}: expected a multiple of {_SEGMENT_FRAMES}"
        raise DataError(message)
    sources = (
        (PROCEDURAL, ACTIONS_FILE, _procedural_clips, _MOST_METRES_OFF),
        (FREEDOOM, FREEDOOM_ACTIONS_FILE, _freedoom_clips, _MOST_METRES_OFF_IN_FREEDOOM),
    )
    walks = []
    for name, file_name, clips, most_off in sources:
        with closing(clips(size, num_frames + 1)) as attempts:
            clip = next((each for each in attempts if _metres_off(each) < most_off), None)
        if clip is None:
            message = (
                f"no {name} walk of {num_frames} frames without a collision in {_ATTEMPTS} attempts"
            )
            raise DataError(message)
        actions = clip.actions[1:]
        write_actions(out / file_name, actions)
        walks.append(RecordedWalk(name, captioned(clip), actions, out / file_name))
    return walks


def commands() -> dict[str, Actions]:
    """Return what a session is told from one start image, by name."""
    told = {name: Actions.still(_COMMAND_FRAMES) for name in ("turn left", "turn right", "walk on")}
    told["turn left"].mouse[:, 1] = -_YAW_UNITS
    told["turn right"].mouse[:, 1] = _YAW_UNITS
    told["walk on"].keyboard[:, 0] = 1
    return told


def champion() -> tuple[ReleaseSource, FrameSize]:
    """Return the release that is to be served, and the height and width of its frames."""
    from cli.pipeline_requests import store_address
    from services.release_source import find_release
    from worldloom.config import load_config
    from worldloom.rollout.config import ReleaseConfig
    from worldloom.store import open_store

    source = find_release("", open_store(store_address()))
    config = load_config(ReleaseConfig, (source.folder / "release.json").read_text())
    return source, (config.height, config.width)


def walk_release(source: ReleaseSource, walks: Sequence[RecordedWalk], *, port: int) -> PlayedWalks:
    """Serve a release, play each walk and each command on a stream of its own, stop the server.

    Commands are given from the start of the last walk.
    """
    from cli.pipeline_requests import home
    from services.client.grpc.session import SessionOptions
    from services.inference.repository import RepositoryConfig
    from services.inference.server import ServerConfig, serve_release
    from services.recording import play_walk

    started = time.monotonic()
    server = serve_release(
        source.folder,
        home() / "serve" / "demo",
        digest=source.digest,
        repository=RepositoryConfig(),
        server=ServerConfig(port=port),
    )
    try:
        ready_seconds = time.monotonic() - started

        def play(walk: RecordedWalk, actions: Actions) -> PlayResult:
            image, prompt = walk.clip.frames[0], walk.clip.prompt
            options = SessionOptions(image=image, prompt=prompt, seed=_SESSION_SEED)
            return play_walk(server.address, actions, options)

        results = [play(walk, walk.actions) for walk in walks]
        told = {name: play(walks[-1], actions) for name, actions in commands().items()}
        return PlayedWalks(results, told, source, server.address, ready_seconds)
    finally:
        server.stop()


def _procedural_clips(size: FrameSize, num_frames: int) -> Generator[Clip, None, None]:
    from worldloom.data.sources.procedural import ProceduralConfig, capture_clip

    config = ProceduralConfig(height=size[0], width=size[1])
    for seed in range(_FIRST_SEED, _FIRST_SEED + _ATTEMPTS):
        yield capture_clip(
            config, seed=seed, split="test", num_frames=num_frames, trajectory="palindrome"
        )


def _freedoom_clips(size: FrameSize, num_frames: int) -> Generator[Clip, None, None]:
    from worldloom.data.sources.doom_engine import DoomEngine
    from worldloom.data.sources.vizdoom import capture_clip
    from worldloom.data.sources.vizdoom_config import VizdoomConfig

    config = VizdoomConfig(height=size[0], width=size[1])
    with DoomEngine(config) as engine:
        for attempt in range(_ATTEMPTS):
            yield capture_clip(
                config,
                map_name=config.test_maps[attempt % len(config.test_maps)],
                seed=_FIRST_SEED + attempt,
                split="test",
                num_frames=num_frames,
                trajectory="palindrome",
                engine=engine,
            )


def _metres_off(clip: Clip) -> float:
    """Return how far the recorded places are at most from those that the actions make."""
    poses = clip.poses_c2w.astype(np.float64)
    made = integrate_poses(
        poses[0], clip.keyboard[1:].astype(float), clip.mouse[1:].astype(float), Kinematics()
    )
    return float(np.linalg.norm(made[:, :3, 3] - poses[1:, :3, 3], axis=1).max())
