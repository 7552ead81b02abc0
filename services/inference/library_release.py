"""A release of the library as the engine takes it: its sessions' truth as plain arrays.

The only module of the engine's side that knows `worldloom.rollout` and torch. It does not know
slots, streams or stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from services.contract import KEYBOARD, MOUSE
from services.inference.generator import Frames
from services.inference.world_state import WorldState
from worldloom.actions import Actions
from worldloom.rollout.release import Release, World
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
