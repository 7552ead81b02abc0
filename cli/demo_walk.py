"""The demo's walk: recorded actions in a world that no training saw, played on a real server.

The recording is the ground truth: the same start image, the same actions, the poses that the
actions integrate to.
"""

from __future__ import annotations

import time
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

ACTIONS_FILE = "actions.json"
_FIRST_SEED = 31_000
_ATTEMPTS = 64
_SEGMENT_FRAMES = 12
_SESSION_SEED = 1
_MAX_POSE_ERROR = 1e-3


@dataclass(frozen=True)
class RecordedWalk:
    """A recording and the actions after its first frame."""

    clip: Clip
    actions: Actions
    actions_file: Path


@dataclass(frozen=True)
class PlayedWalk:
    """What the server sent for the recorded actions."""

    result: PlayResult
    release: ReleaseSource
    address: str
    server_seconds: float


def record_walk(out: Path, *, num_frames: int) -> RecordedWalk:
    """Record a palindrome in a held-out procedural world; the actions go into `out`.

    A walk that bumps into a wall is passed over: a server does not know walls, so its poses would
    not be the recorded ones.

    Raises:
        DataError: when no walk without a collision is found, or the length does not fit.
    """
    from worldloom.data.sources.procedural import ProceduralConfig, capture_clip

    if num_frames % _SEGMENT_FRAMES:
        message = f"--frames {num_frames}: expected a multiple of {_SEGMENT_FRAMES}"
        raise DataError(message)
    config = ProceduralConfig()
    for seed in range(_FIRST_SEED, _FIRST_SEED + _ATTEMPTS):
        clip = capture_clip(
            config, seed=seed, split="test", num_frames=num_frames + 1, trajectory="palindrome"
        )
        if _is_free(clip, config.kinematics):
            path = out / ACTIONS_FILE
            actions = clip.actions[1:]
            write_actions(path, actions)
            return RecordedWalk(clip, actions, path)
    message = f"no walk of {num_frames} frames without a collision in {_ATTEMPTS} worlds"
    raise DataError(message)


def walk_champion(walk: RecordedWalk, *, port: int) -> PlayedWalk:
    """Serve the champion, play the walk on one stream, stop the server."""
    from cli.pipeline_requests import home, store_address
    from services.client.grpc.session import SessionOptions
    from services.inference.repository import RepositoryConfig
    from services.inference.server import ServerConfig, serve_release
    from services.recording import play_walk
    from services.release_source import find_release
    from worldloom.store import open_store

    source = find_release("", open_store(store_address()))
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
        options = SessionOptions(
            image=walk.clip.frames[0], prompt=walk.clip.prompt, seed=_SESSION_SEED
        )
        result = play_walk(server.address, walk.actions, options)
        return PlayedWalk(result, source, server.address, ready_seconds)
    finally:
        server.stop()


def _is_free(clip: Clip, kinematics: Kinematics) -> bool:
    poses = clip.poses_c2w.astype(np.float64)
    integrated = integrate_poses(
        poses[0],
        clip.keyboard[1:].astype(float),
        clip.mouse[1:].astype(float),
        kinematics,
    )
    return bool(np.abs(integrated - poses[1:]).max() < _MAX_POSE_ERROR)
