"""Play recorded actions over one stream and measure what a player would see.

It does not read action files or write video.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...contract import ErrorCode, SessionError, SessionReady
from .session import DEFAULT_OPTIONS, Frame, Session, SessionOptions, open_session

# The server makes a segment while the one before travels; more ahead would only wait there.
_SEGMENTS_AHEAD = 2


@dataclass(frozen=True)
class PlayResult:
    """The frames of a played session and how fast they came."""

    ready: SessionReady
    start_image_jpeg: bytes
    frames: tuple[Frame, ...]
    first_frame_seconds: float
    seconds: float

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """Every encoded picture, the start image first."""
        return (self.start_image_jpeg, *(frame.jpeg for frame in self.frames))

    @property
    def frames_per_second(self) -> float:
        """Frames received a second, from the first action sent to the last frame received."""
        return len(self.frames) / self.seconds


def play_actions(
    address: str,
    keyboard: ArrayLike,
    mouse: ArrayLike,
    options: SessionOptions = DEFAULT_OPTIONS,
) -> PlayResult:
    """Send actions [F, 6] and [F, 2] as fast as frames come back; return the F frames.

    Raises:
        SessionError: when the server refuses, ends the session early or dies.
    """
    keys, moves = np.asarray(keyboard, np.float32), np.asarray(mouse, np.float32)
    with open_session(address, options) as session:
        started = time.monotonic()
        frames = tuple(_play(session, keys, moves))
    if len(frames) != len(keys):
        sentence = f"{address} sent {len(frames)} frames for {len(keys)} actions, expected as many"
        raise SessionError(ErrorCode.SESSION_ENDED, sentence)
    return PlayResult(
        ready=session.ready,
        start_image_jpeg=session.start_image_jpeg,
        frames=frames,
        first_frame_seconds=frames[0].received_at - started,
        seconds=frames[-1].received_at - started,
    )


def _play(
    session: Session, keyboard: NDArray[np.float32], mouse: NDArray[np.float32]
) -> Iterator[Frame]:
    length = session.ready.frames_per_segment
    starts = iter(range(0, len(keyboard), length))

    def send_next() -> None:
        start = next(starts, None)
        if start is None:
            return
        session.send_actions(keyboard[start : start + length], mouse[start : start + length])
        if start + length >= len(keyboard):
            session.finish()

    for _ in range(_SEGMENTS_AHEAD):
        send_next()
    segment_index = -1
    for frame in session.frames():
        if frame.segment_index != segment_index:
            segment_index = frame.segment_index
            send_next()
        yield frame
