"""What waits for one player's socket: messages and frames, in order, bounded.

With `keep`, the engine's credits bound what waits, and a player gives none for what it was not
sent. With `drop`, frames that waited too long, or for which there is no room, are left out: of
JPEG any frame, of H.264 everything from there to the next key frame. Headers are written as a
frame is sent, so that they tell when that was. It does not know engines.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel

from services import protocol
from services.gateway.player_socket import PlayerSocket

# A client that sends and never reads is not listened to beyond so many answers.
_MAX_WAITING_MESSAGES = 256


@dataclass(frozen=True)
class LateRule:
    """When a frame is late.

    Attributes:
        policy: whether late frames are left out at all.
        seconds: the longest that a frame may wait for the socket.
        max_frames: frames that may wait.
    """

    policy: protocol.LatePolicy = "keep"
    seconds: float = 1.0
    max_frames: int = 64


class OutgoingFrame(NamedTuple):
    """One encoded frame with what its header says."""

    kind: int
    segment_index: int
    frame_index: int
    action_index: int
    data: bytes


class _Waiting(NamedTuple):
    frame: OutgoingFrame
    since: float


class _Head(NamedTuple):
    text: str
    segment_index: int


class Outbox:
    """The queue before one player's socket; one task writes it out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty, and leave nothing out."""
        self._rule = LateRule()
        self._clock = clock
        self._items: deque[str | _Head | _Waiting] = deque()
        self._num_frames = 0
        self._skips_to_key = False
        self._is_finished = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._writing_since: float | None = None
        self.num_sent = 0
        self.num_bytes = 0
        self.num_dropped = 0
        self.last_segment_index = -1  # that the socket has taken the head of
        self.on_frame: Callable[[int], None] | None = None

    @property
    def num_waiting(self) -> int:
        """Messages and frames that wait."""
        return len(self._items)

    def obey(self, rule: LateRule) -> None:
        """Let a rule say from now on which frames are late."""
        self._rule = rule

    def blocked_seconds(self) -> float:
        """Return for how long the socket has taken nothing of what it was given."""
        since = self._writing_since
        return 0.0 if since is None else self._clock() - since

    def push(self, message: BaseModel) -> None:
        """Let a message wait for the socket."""
        self._items.append(message.model_dump_json())
        self._filled.set()

    def push_segment(self, message: protocol.Segment) -> None:
        """Let the head of a segment wait for the socket; its frames follow."""
        self._items.append(_Head(message.model_dump_json(), message.segment_index))
        self._filled.set()

    def make_room(self, num_frames: int) -> None:
        """Leave out the frames that wait, when so many more are too many; only with `drop`."""
        if self._rule.policy == "keep" or not self._num_frames:
            return
        if self._num_frames + num_frames <= self._rule.max_frames:
            return
        # Whole segments go, so what comes next begins with a key frame.
        self._items = deque(item for item in self._items if not isinstance(item, _Waiting))
        self.num_dropped += self._num_frames
        self._num_frames = 0

    def push_frame(self, frame: OutgoingFrame) -> None:
        """Let a frame wait for the socket."""
        self._items.append(_Waiting(frame, self._clock()))
        self._num_frames += 1
        self._filled.set()

    def finish(self) -> None:
        """Let `write_to` return once everything is written."""
        self._is_finished = True
        self._filled.set()

    async def wait_for_room(self) -> None:
        """Return once the player has read enough of the answers to its messages."""
        while len(self._items) - self._num_frames > _MAX_WAITING_MESSAGES:
            self._emptied.clear()
            await self._emptied.wait()

    async def write_to(self, socket: PlayerSocket) -> None:
        """Write what waits, and what will, until `finish`; raises `PlayerGoneError`."""
        while True:
            while self._items:
                item = self._items.popleft()
                if isinstance(item, _Waiting):
                    await self._write_frame(socket, item)
                else:
                    await self._write_text(socket, item)
                self._writing_since = None
            self._emptied.set()
            if self._is_finished:
                return
            self._filled.clear()
            await self._filled.wait()

    async def _write_text(self, socket: PlayerSocket, item: str | _Head) -> None:
        self._writing_since = self._clock()
        if isinstance(item, str):
            await socket.send_text(item)
            return
        await socket.send_text(item.text)
        self.last_segment_index = item.segment_index

    async def _write_frame(self, socket: PlayerSocket, waiting: _Waiting) -> None:
        self._num_frames -= 1
        frame = waiting.frame
        if self._is_left_out(waiting):
            self.num_dropped += 1
            return
        header = protocol.FrameHeader(
            frame.kind,
            frame.segment_index,
            frame.frame_index,
            frame.action_index,
            time.time() * 1000.0,
        )
        self._writing_since = self._clock()
        await socket.send_bytes(header.pack() + frame.data)
        self.num_sent += 1
        self.num_bytes += len(frame.data)
        if self.on_frame is not None:
            self.on_frame(frame.action_index)

    def _is_left_out(self, waiting: _Waiting) -> bool:
        if self._rule.policy == "keep":
            return False
        kind = waiting.frame.kind
        is_late = self._clock() - waiting.since > self._rule.seconds
        if is_late and kind != protocol.KIND_JPEG:
            self._skips_to_key = True
        elif kind == protocol.KIND_H264_KEY:
            self._skips_to_key = False
        return is_late or (self._skips_to_key and kind == protocol.KIND_H264_DELTA)
