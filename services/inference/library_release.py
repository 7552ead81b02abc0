"""A release of the library as the engine takes it: its sessions' truth as plain arrays.

The only module of the engine's side that knows `worldloom.rollout` and torch. It does not know
slots, streams or stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from services.contract import KEYBOARD, MOUSE
from services.inference.generator import Frames
from services.inference.world_state import WorldState
from worldloom.actions import Actions
from worldloom.errors import MachineError
from worldloom.rollout.release import Release, World, load_release
from worldloom.rollout.session import WorldSession
from worldloom.rollout.truth import SessionState

LATENTS = "latents"
POSES = "poses"


@dataclass(frozen=True)
class LibrarySession:
    """A walk of the library whose state can be taken in parts."""

    session: WorldSession

    def generate_segment(self, actions: Actions) -> Frames:
        """Return the frames [F, H, W, 3] that obey these F actions."""
        return self.session.generate_segment(actions)

    def snapshot(self, start: int = 0) -> WorldState:
        """Return latents, poses and actions from a unit on."""
        segment_latents = self.session.model.transformer.config.segment_latents
        truth = self.session.snapshot(1 + (start - 1) * segment_latents if start else 0)
        arrays = {
            LATENTS: truth.latents.numpy(),
            POSES: truth.poses,
            KEYBOARD: truth.keyboard,
            MOUSE: truth.mouse,
        }
        return WorldState(start, 1 + self.session.segment_index, arrays)

    def close(self) -> None:
        """Remove the session's files."""
        self.session.close()


@dataclass(frozen=True)
class LibraryRelease:
    """A release folder that was loaded."""

    release: Release

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""
        return self.release.height

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""
        return self.release.width

    @property
    def frames_per_segment(self) -> int:
        """Frames that are made at once."""
        return self.release.frames_per_segment

    @property
    def worlds(self) -> Sequence[World]:
        """The places that come with the release."""
        return self.release.worlds

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> LibrarySession:
        """Start a session in an image."""
        return LibrarySession(
            self.release.open_session(
                image=image, prompt=prompt, seed=seed, memory=memory, pitch_radians=pitch_radians
            )
        )

    def resume_session(
        self, state: WorldState, *, prompt: str, seed: int, memory: bool = True
    ) -> LibrarySession:
        """Go on from a whole state, working out again all that follows from it."""
        arrays = state.arrays
        truth = SessionState(
            latents=torch.from_numpy(np.asarray(arrays[LATENTS], np.float32)),
            poses=np.asarray(arrays[POSES], np.float64),
            keyboard=np.asarray(arrays[KEYBOARD], np.float32),
            mouse=np.asarray(arrays[MOUSE], np.float32),
        )
        return LibrarySession(
            self.release.resume_session(truth, prompt=prompt, seed=seed, memory=memory)
        )


def open_library_release(folder: Path, device_name: str) -> LibraryRelease:
    """Open a release folder: with plain passes on a CPU, with fast ones on a GPU.

    Raises:
        ArtifactError: when a file is missing, cannot be read or does not fit the configuration.
        MachineError: for a GPU that is not there.
    """
    device = torch.device(device_name)
    if device.type == "cpu":
        return LibraryRelease(load_release(folder))
    if (device.index or 0) >= torch.cuda.device_count():
        message = (
            f"device {device_name!r}: {torch.cuda.device_count()} GPUs on this machine, expected "
            "it among them; KIND_CPU runs without"
        )
        raise MachineError(message)
    # Kernels need a compiler that comes with torch for GPUs alone.
    from worldloom.rollout.realtime.config import RealtimeConfig
    from worldloom.rollout.realtime.fast_release import load_fast_release

    return LibraryRelease(load_fast_release(folder, RealtimeConfig(), device).release)
