"""Play recorded actions through a gateway and measure what a player would see.

It does not read action files or write video.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from numpy.typing import ArrayLike

from ..contract import ErrorCode, SessionError
from ..protocol import Ready
from .frame import Frame
from .options import DEFAULT_OPTIONS, DEFAULT_TIMEOUTS, SessionOptions, Timeouts
from .session import connect


@dataclass(frozen=True)
class PlayResult:
    """The frames of a played session and how fast they came."""

    ready: Ready
    start_image: Frame
    frames: tuple[Frame, ...]
    first_frame_seconds: float
    seconds: float
    num_reconnects: int

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """Every encoded picture, the start image first."""
        return (self.start_image.data, *(frame.data for frame in self.frames))

    @property
    def frames_per_second(self) -> float:
        """Frames received a second, from the first action sent to the last frame received."""
        return len(self.frames) / self.seconds


async def play_actions(
    url: str,
    keyboard: ArrayLike,
    mouse: ArrayLike,
    *,
    api_key: str | None = None,
    options: SessionOptions = DEFAULT_OPTIONS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> PlayResult:
    """Send actions [F, 6] and [F, 2] and take the frames as fast as they come.

    Raises:
        SessionError: when the gateway refuses, or the session cannot be brought to its end.
    """
    async with connect(url, api_key=api_key, options=options, timeouts=timeouts) as session:
        started = time.monotonic()
        receipt = await session.act(keyboard, mouse)
        await session.finish()
        start_image, *frames = [frame async for frame in session.frames()]
    if len(frames) != receipt.num_actions:
        sentence = f"{len(frames)} frames for {receipt.num_actions} actions, expected as many"
        raise SessionError(ErrorCode.SESSION_ENDED, sentence)
    return PlayResult(
        session.ready,
        start_image,
        tuple(frames),
        frames[0].received_at - started,
        frames[-1].received_at - started,
        session.num_reconnects,
    )


def play_actions_sync(
    url: str,
    keyboard: ArrayLike,
    mouse: ArrayLike,
    *,
    api_key: str | None = None,
    options: SessionOptions = DEFAULT_OPTIONS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> PlayResult:
    """Do the same where no event loop runs."""
    return asyncio.run(
        play_actions(url, keyboard, mouse, api_key=api_key, options=options, timeouts=timeouts)
    )
