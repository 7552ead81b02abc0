"""A session played as fast as it goes, from an action to the encoded frame that obeys it.

One thread asks for segment after segment, as a server's device thread does; others wait for frames
and encode them as JPEG. An action is taken to have come at a random moment of the segment before,
as a player's does, so that its wait for the segment under way is counted. It does not know what
the session runs on, nor how a report is written.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from worldloom.actions import Actions
from worldloom.rollout.world_model import Frames, PendingFrames

_TURNS = (-0.15, -0.05, 0.0, 0.0, 0.05, 0.15)
_NUM_KEYS_HELD = 4
MOST_SEGMENTS_WAITING = 2


@runtime_checkable
class LiveSession(Protocol):
    """What is played."""

    @property
    def segment_frames(self) -> int:
        """Frames that the next segment adds."""

    def begin_segment(self, actions: Actions) -> PendingFrames:
        """Generate a segment and begin to decode its frames."""


@dataclass
class PlayedSegment:
    """When things happened to one segment, seconds of one clock."""

    acted: float  # the player's action came
    begun: float
    first_encoded: float
    all_encoded: float
    num_frames: int
    num_bytes: int


@dataclass
class Play:
    """A session that is played, with a way of its own."""

    session: LiveSession
    jpeg_quality: int
    num_encoders: int
    seed: int
    segments: list[PlayedSegment] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the threads that encode."""
        self._generator = np.random.default_rng(self.seed)
        self._encoders = ThreadPoolExecutor(self.num_encoders)
        self._waiters = ThreadPoolExecutor(1)
        self._waiting: list[Future[PlayedSegment]] = []
        self._latest_start = time.perf_counter()

    def play(self, seconds: float, *, least_segments: int = 2) -> list[PlayedSegment]:
        """Play on for some time and return what was played in it, encoded to the end."""
        first, end, begun = len(self.segments), time.perf_counter() + seconds, 0
        while begun < least_segments or time.perf_counter() < end:
            self._step()
            begun += 1
        self._settle(0)
        return self.segments[first:]

    def close(self) -> None:
        """End the threads."""
        self._waiters.shutdown()
        self._encoders.shutdown()

    def _step(self) -> None:
        self._settle(MOST_SEGMENTS_WAITING)
        begun = time.perf_counter()
        acted = self._generator.uniform(self._latest_start, begun)
        self._latest_start = begun
        frames = self.session.begin_segment(self._actions())
        self._waiting.append(self._waiters.submit(self._deliver, frames, acted, begun))

    def _settle(self, most: int) -> None:
        """Wait until no more than `most` segments are on their way to the player."""
        while len(self._waiting) > most:
            self.segments.append(self._waiting.pop(0).result())

    def _deliver(self, pending: PendingFrames, acted: float, begun: float) -> PlayedSegment:
        frames = pending.wait()
        encoded = [self._encoders.submit(encode, frame, self.jpeg_quality) for frame in frames]
        first_bytes = encoded[0].result()
        first_encoded = time.perf_counter()
        num_bytes = first_bytes + sum(one.result() for one in encoded[1:])
        return PlayedSegment(
            acted, begun, first_encoded, time.perf_counter(), len(frames), num_bytes
        )

    def _actions(self) -> Actions:
        """Return a key and a turn that are held for a segment."""
        count = self.session.segment_frames
        keyboard, mouse = np.zeros((count, 6), np.float32), np.zeros((count, 2), np.float32)
        keyboard[:, self._generator.integers(_NUM_KEYS_HELD)] = 1
        mouse[:, 1] = self._generator.choice(_TURNS)
        return Actions(keyboard, mouse)


def encode(frame: Frames, quality: int) -> int:
    """Encode a frame [H, W, 3] as JPEG and return its bytes' number."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return len(data)
