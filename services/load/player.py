"""One simulated player: acts segment by segment, takes each frame when it is due, and notes it all.

A player waits until one segment is there (the start buffer), then shows a frame at a time. As a
segment begins to be shown, the player acts for the one after it, so an engine has as long for a
segment as the player takes to look at the one before. It does not know how a gateway is started.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from services.client import Frame, Session, SessionError, SessionOptions, Timeouts, connect
from services.contract import NUM_KEYS, NUM_MOUSE_AXES, Encoding
from services.load.playout import Playout
from services.protocol import LatePolicy
from worldloom.config import Config

_STAMP = struct.Struct("<d")


class PlayerConfig(Config):
    """How a player plays."""

    seconds: float = Field(10.0, gt=0, description="time of play, from the first frame on")
    pace: float = Field(
        1.0, gt=0, description="share of the session's pace at which frames are taken; 0.1 is slow"
    )
    late_frames: LatePolicy = Field("keep", description="what becomes of frames it takes too late")
    encoding: Encoding = Field("jpeg", description="how frames are encoded")
    is_stamped: bool = Field(
        False, description="whether frames end with the time at which they were made"
    )
    api_key: str | None = Field(None, description="key of the gateway, none where it asks for none")
    open_seconds: float = Field(60.0, gt=0, description="longest wait for a session, seconds")


@dataclass
class Played:
    """What one player saw; times are seconds.

    Attributes:
        seed: the player's.
        failure: why it ended early, as a code and a sentence; empty when it did not.
        opened_seconds: from the wish for a session to the start image.
        first_frame_seconds: from the same wish to the first frame that was made.
        action_to_frame_seconds: from an action to the first frame that obeys, once a segment.
        added_seconds: from a frame's making to its arrival, where frames are stamped.
        interval_seconds: between frames as they are seen.
        played_seconds: time of play, stalls included.
        stalled_seconds: time with nothing to show.
    """

    seed: int
    failure: str = ""
    opened_seconds: float = 0.0
    first_frame_seconds: float = 0.0
    action_to_frame_seconds: list[float] = field(default_factory=list)
    added_seconds: list[float] = field(default_factory=list)
    interval_seconds: list[float] = field(default_factory=list)
    played_seconds: float = 0.0
    stalled_seconds: float = 0.0
    num_stalls: int = 0
    num_frames: int = 0
    num_dropped: int = 0
    num_reconnects: int = 0
    release: str = ""

    @property
    def continuity(self) -> float:
        """The share of the time of play in which there was something new to show."""
        return 1.0 - self.stalled_seconds / self.played_seconds if self.played_seconds else 0.0


async def play(url: str, config: PlayerConfig, *, seed: int) -> Played:
    """Play one session; a session that fails is a result and no error."""
    played = Played(seed)
    options = SessionOptions(seed=seed, encoding=config.encoding, late_frames=config.late_frames)
    started = time.monotonic()
    try:
        async with connect(
            url,
            api_key=config.api_key,
            options=options,
            timeouts=Timeouts(open_seconds=config.open_seconds),
        ) as session:
            player = _Player(session, config, played, started)
            try:
                await player.play()
            finally:
                player.note_end()
    except SessionError as error:
        played.failure = f"{error.code}: {error.message}"
    return played


class _Player:
    def __init__(
        self, session: Session, config: PlayerConfig, played: Played, started: float
    ) -> None:
        self._session = session
        self._config = config
        self._played = played
        self._started = started
        self._walk = random.Random(played.seed)
        self._acted_at: dict[int, float] = {}
        self._num_acts = 0
        self._length = session.ready.frames_per_segment
        self._playout: Playout | None = None

    async def play(self) -> None:
        """Look at the start image, fill the start buffer, then play."""
        await self._act()
        frames = self._session.frames()
        start = await anext(frames)
        self._played.opened_seconds = start.received_at - self._started
        self._played.release = self._session.ready.release
        await self._session.frame_arrived(self._length)
        pace = self._session.ready.frames_per_second * self._config.pace
        self._playout = Playout(pace, time.monotonic())
        end = time.monotonic() + self._config.seconds
        acting = self._config.late_frames == "drop" and asyncio.create_task(self._act_on_time())
        try:
            await self._show(frames, self._playout, end)
        finally:
            if acting:
                acting.cancel()

    async def _show(self, frames: AsyncIterator[Frame], playout: Playout, end: float) -> None:
        async for frame in frames:
            self._note_arrival(frame)
            if self._config.late_frames == "keep" and playout.due_at < end:
                await self._act_ahead_of(frame)
            shown_at = playout.show(frame.received_at)
            await asyncio.sleep(max(0.0, shown_at - time.monotonic()))
            if shown_at >= end:
                break

    async def _act_on_time(self) -> None:
        """Act at the session's pace, however late the frames that are seen: some are left out."""
        seconds = self._length / self._session.ready.frames_per_second
        while True:
            await self._act()
            await asyncio.sleep(seconds)

    def note_end(self) -> None:
        """Note what is known only at the end, however it came."""
        self._played.num_dropped = self._session.num_dropped
        self._played.num_reconnects = self._session.num_reconnects
        if self._playout is not None:
            self._played.interval_seconds = self._playout.intervals()
            self._played.played_seconds = self._playout.played_seconds
            self._played.stalled_seconds = self._playout.stalled_seconds
            self._played.num_stalls = self._playout.num_stalls

    async def _act_ahead_of(self, frame: Frame) -> None:
        """Act for the segment after the one that this frame is of, unless that is done."""
        segment_index = (frame.frame_index - 1) // self._length
        while self._num_acts < segment_index + 2:
            await self._act()

    async def _act(self) -> None:
        """Walk on: keys and a turn are held for a segment."""
        keyboard = np.zeros((self._length, NUM_KEYS), np.float32)
        keyboard[:, self._walk.randrange(4)] = 1
        mouse = np.zeros((self._length, NUM_MOUSE_AXES), np.float32)
        mouse[:, 1] = self._walk.uniform(-3.0, 3.0)
        self._num_acts += 1
        acted_at = time.monotonic()
        receipt = await self._session.act(keyboard, mouse)
        self._acted_at[receipt.first_action_index] = acted_at

    def _note_arrival(self, frame: Frame) -> None:
        played = self._played
        played.num_frames += 1
        if not played.first_frame_seconds:
            played.first_frame_seconds = frame.received_at - self._started
        acted_at = self._acted_at.pop(frame.action_index, None)
        if acted_at is not None:
            played.action_to_frame_seconds.append(frame.received_at - acted_at)
        if self._config.is_stamped:
            [made_at] = _STAMP.unpack(frame.data[-_STAMP.size :])
            played.added_seconds.append(frame.received_at - made_at)
