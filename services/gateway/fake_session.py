"""One session of the fake engine: its queue, its credits and the task that makes its segments.

Its state is the actions it has obeyed, as with the real engine. It does not know other sessions
or slots.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.fake_frames import PatternCamera, Place
from services.gateway.link import Received, Tensors
from worldloom.config import Config

_STAMP = struct.Struct("<d")  # behind a JPEG's end, where decoders do not look


class FakeEngineConfig(Config):
    """What the fake engine pretends to be."""

    release: str = Field("sha256:fake", description="digest that it says it serves")
    height: int = Field(180, ge=16, description="pixels")
    width: int = Field(320, ge=64, description="pixels")
    frames_per_segment: int = Field(12, ge=1, description="frames made at once")
    frames_per_second: float = Field(30.0, gt=0, description="pace at which players see frames")
    segment_seconds: float = Field(0.02, ge=0, description="time that making a segment takes")
    ready_seconds: float = Field(0.0, ge=0, description="time until a session is ready")
    frame_bytes: int = Field(0, ge=0, description="least size of a JPEG, filled up with comments")
    draws_ahead: bool = Field(
        False, description="whether every frame is drawn before the first session"
    )
    is_stamped: bool = Field(
        False,
        description="end each JPEG with the time at which it was made: a double, little-endian, "
        "seconds of this machine's monotonic clock",
    )
    num_slots: int = Field(64, ge=0, description="sessions that may be open at once")
    num_parked: int = Field(256, ge=0, description="parked sessions that are kept in memory")
    max_queued_actions: int = Field(4096, ge=1, description="actions that may wait, in frames")
    max_unacknowledged_segments: int = Field(2, ge=1, description="segments sent ahead")
    durable_segments: int = Field(
        1, ge=0, description="segments after which the state is stored, 0 for never"
    )
    worlds: tuple[str, ...] = Field(("pattern", "night"), description="names of the worlds")


@dataclass
class FakeState:
    """What a session is: where it stands and how far it has come."""

    start: contract.SessionStart
    world: str
    prompt: str
    camera: PatternCamera = field(repr=False)
    place: Place = field(default_factory=Place)
    num_frames: int = 0
    num_segments: int = 0
    is_paused: bool = False

    def copy(self) -> FakeState:
        """Return what a store would keep."""
        return replace(self)


class FakeHost(Protocol):
    """What a session needs of its engine."""

    @property
    def config(self) -> FakeEngineConfig:
        """What the engine pretends to be."""

    def require_slot(self) -> None:
        """Raise `no_free_slot` while all slots are in use."""

    def on_durable(self, session: FakeSession) -> None:
        """Keep a copy of the session's state."""

    def on_ended(self, session: FakeSession, reason: contract.EndReason) -> None:
        """Forget a session that is over."""

    async def wait_while_frozen(self) -> None:
        """Return once the engine is not frozen."""


class FakeVoice(Protocol):
    """Where a session says what happens."""

    def post(self, received: Received) -> None:
        """Say one event."""

    def break_off(self) -> None:
        """Say nothing any more."""


class FakeSession:
    """A running session on a stream."""

    def __init__(
        self,
        engine: FakeHost,
        state: FakeState,
        stream: FakeVoice,
        *,
        encoding: contract.Encoding,
        last_frame_index: int | None = None,
    ) -> None:
        """Take the state over; `last_frame_index` is that of a client which resumes."""
        self.state = state
        self.stream = stream
        self._engine = engine
        self._config = engine.config
        self._encoding = encoding
        self._last_frame_index = last_frame_index
        self._actions: deque[tuple[NDArray[np.float32], NDArray[np.float32], float]] = deque()
        self._opened_by = "session_start" if last_frame_index is None else "session_resume"
        self._num_unacknowledged = 0
        self._is_finishing = False
        self._changed = asyncio.Event()
        self._durable_frame_index = state.num_frames if last_frame_index is not None else 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_paused(self) -> bool:
        """Tell whether the session has given its slot away."""
        return self.state.is_paused

    def begin(self) -> None:
        """Begin to work: to say that the session is ready, then to make segments."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def _say_ready(self) -> None:
        is_resumed = self._last_frame_index is not None
        ready = contract.SessionReady(
            session_id=self.state.start.session_id,
            release=self._config.release,
            world=self.state.world,
            prompt=self.state.prompt,
            height=self._config.height,
            width=self._config.width,
            frames_per_segment=self._config.frames_per_segment,
            max_unacknowledged_segments=self._config.max_unacknowledged_segments,
            frames_per_second=self._config.frames_per_second,
            encoding=self._encoding,
            next_action_index=self.state.num_frames,
            next_segment_index=self.state.num_segments,
            is_resumed=is_resumed,
            is_paused=self.state.is_paused,
        )
        if is_resumed:
            self.stream.post(Received(ready, self._opened_by))
        else:
            start_image = self.state.camera.jpeg(self.state.place)
            self.stream.post(Received(ready, self._opened_by, (start_image,), (0,), (-1,)))

    def handle(self, message: BaseModel, tensors: Tensors) -> None:
        """Take in a message of an open session and answer it."""
        session_id = self.state.start.session_id
        answer: contract.Event = contract.Acknowledged(session_id=session_id)
        if isinstance(message, contract.ActionsMessage):
            answer = self._append(message, tensors)
        elif isinstance(message, contract.FramesReceived):
            known = self.state.num_segments - 1
            self._num_unacknowledged = min(
                self._num_unacknowledged, max(0, known - message.segment_index)
            )
        elif isinstance(message, contract.SessionPause):
            self.state.is_paused = True
        elif isinstance(message, contract.SessionContinue):
            if self.state.is_paused:
                self._engine.require_slot()
            self.state.is_paused = False
        elif isinstance(message, contract.SessionSnapshot):
            self._engine.on_durable(self)
            self._durable_frame_index = self.state.num_frames
            answer = contract.SnapshotTaken(
                session_id=session_id, frame_index=self.state.num_frames
            )
        elif isinstance(message, contract.SessionStop):
            self.stream.post(Received(answer, message.type))
            if message.finish_queue:
                self._is_finishing = True
                self._changed.set()
            else:
                self.end("stopped")
            return
        self.stream.post(Received(answer, getattr(message, "type", "")))
        self._changed.set()

    def end(self, reason: contract.EndReason) -> None:
        """Say that the session is over, and why."""
        self.stream.post(
            Received(
                contract.SessionEnd(
                    session_id=self.state.start.session_id,
                    reason=reason,
                    num_frames=self.state.num_frames,
                ),
                self._opened_by,
            )
        )
        self._engine.on_ended(self, reason)

    def fail(self, sentence: str) -> None:
        """End as a session does whose segment cannot be made."""
        error = SessionError(ErrorCode.GENERATION_FAILED, sentence)
        event = contract.ErrorEvent.of(error, self.state.start.session_id)
        self.stream.post(Received(event, self._opened_by))
        self.end("failed")

    def stop(self) -> None:
        """Make no more segments."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _append(
        self, message: contract.ActionsMessage, tensors: Tensors
    ) -> contract.ActionsReceived:
        keyboard = tensors[contract.KEYBOARD].astype(np.float32)
        mouse = tensors[contract.MOUSE].astype(np.float32)
        expected = self.state.num_frames + len(self._actions)
        if message.action_index != expected:
            sentence = f"action_index {message.action_index}, expected {expected}"
            raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
        num_queued = len(self._actions) + len(keyboard)
        if num_queued > self._config.max_queued_actions:
            sentence = (
                f"{num_queued} actions would wait, at most {self._config.max_queued_actions} may"
            )
            raise SessionError(ErrorCode.TOO_MANY_ACTIONS, sentence)
        now = time.monotonic()
        self._actions.extend((keys, turn, now) for keys, turn in zip(keyboard, mouse, strict=True))
        return contract.ActionsReceived(
            session_id=message.session_id,
            action_index=message.action_index,
            num_actions=len(keyboard),
            num_queued_actions=num_queued,
        )

    async def _work(self) -> None:
        await asyncio.sleep(self._config.ready_seconds)
        self._say_ready()
        while True:
            while not self._has_work():
                if self._is_finishing and not self._actions:
                    self.end("finished")
                    return
                self._changed.clear()
                await self._changed.wait()
            await self._engine.wait_while_frozen()
            # A pace that does not depend on how long drawing takes: the model is what is faked.
            await asyncio.sleep(self._config.segment_seconds)
            self._make_segment()

    def _has_work(self) -> bool:
        is_full = len(self._actions) >= self._config.frames_per_segment
        has_credit = self._num_unacknowledged < self._config.max_unacknowledged_segments
        is_wanted = is_full or (self._is_finishing and bool(self._actions))
        return is_wanted and has_credit and not self.state.is_paused

    def _make_segment(self) -> None:
        state = self.state
        num_frames = min(self._config.frames_per_segment, len(self._actions))
        first = state.num_frames + 1
        jpegs = []
        waited_since = time.monotonic()
        for _ in range(num_frames):
            keys, turn, waited_since = self._actions.popleft()
            state.place = state.place.moved(keys, turn)
            jpegs.append(state.camera.jpeg(state.place))
        segment_index = state.num_segments
        state.num_frames += num_frames
        state.num_segments += 1
        self._num_unacknowledged += 1
        every = self._config.durable_segments
        if every and state.num_segments % every == 0:
            self._engine.on_durable(self)
            self._durable_frame_index = state.num_frames
        if self._config.is_stamped:
            stamp = _STAMP.pack(time.monotonic())
            jpegs = [jpeg + stamp for jpeg in jpegs]
        self._post_segment(segment_index, first, jpegs, time.monotonic() - waited_since)

    def _post_segment(
        self, segment_index: int, first: int, jpegs: Sequence[bytes], waited_seconds: float
    ) -> None:
        # A client that resumes is not told again what it has.
        skip = max(0, (self._last_frame_index or 0) + 1 - first)
        if skip >= len(jpegs):
            self._num_unacknowledged -= 1
            return
        event = contract.FramesEvent(
            session_id=self.state.start.session_id,
            segment_index=segment_index,
            num_frames=len(jpegs) - skip,
            segment_seconds=self._config.segment_seconds,
            waited_seconds=max(0.0, waited_seconds - self._config.segment_seconds),
            durable_frame_index=self._durable_frame_index,
        )
        indices = range(first + skip, first + len(jpegs))
        self.stream.post(
            Received(
                event,
                self._opened_by,
                jpegs[skip:],
                tuple(indices),
                tuple(index - 1 for index in indices),
            )
        )
