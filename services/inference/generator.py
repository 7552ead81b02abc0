"""What the engine needs of a release: worlds to start in, sessions that make segments of frames.

`library_release` fits `worldloom.rollout` to these protocols. They know no tensors of torch, no
Triton and no transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.inference.world_state import WorldState
from worldloom.actions import Actions

Frames = NDArray[np.uint8]


class StartWorld(Protocol):
    """A place that a session can start in."""

    @property
    def name(self) -> str:
        """The name that clients ask for."""

    @property
    def prompt(self) -> str:
        """What the place looks like, in words."""

    @property
    def image(self) -> Frames:
        """The start image [H, W, 3]."""

    @property
    def pitch_radians(self) -> float:
        """How far up the start image looks."""


class SegmentGenerator(Protocol):
    """One session of one player."""

    def generate_segment(self, actions: Actions) -> Frames:
        """Return the frames [F, H, W, 3] that obey these F actions."""

    def snapshot(self, start: int = 0) -> WorldState:
        """Return the state from a unit on (see `world_state`); the session goes on."""

    def close(self) -> None:
        """Give up what the session holds; it cannot go on."""


class WorldRelease(Protocol):
    """A loaded release."""

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""

    @property
    def frames_per_segment(self) -> int:
        """Frames that are made at once."""

    @property
    def worlds(self) -> Sequence[StartWorld]:
        """The places that come with the release; at least one."""

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> SegmentGenerator:
        """Start a session in an image."""

    def resume_session(
        self, state: WorldState, *, prompt: str, seed: int, memory: bool = True
    ) -> SegmentGenerator:
        """Go on from a whole state with the frames that an undisturbed session would make."""
