"""An engine without a model, in the gateway's own process: the whole contract, drawn frames.

It is for tests, for the viewer's and client's development and for measuring the gateway alone: it
obeys credits, slots, pauses, snapshots and resumes as the real one does, makes segments at a given
pace, and dies, freezes or fails when it is told to. Sessions that were parked or stored go on with
the same bytes. It knows nothing of players.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.fake_frames import PatternCamera, Place, draw_pattern
from services.gateway.fake_session import FakeEngineConfig, FakeSession, FakeState
from services.gateway.link import NO_TENSORS, Received, Tensors

FakeStore = dict[str, FakeState]
_MAX_STORED = 4096  # sessions that nobody came back for are let go, oldest first


class FakeStream:
    """One session's stream: what the engine says waits here, bounded by the credits."""

    def __init__(self, engine: FakeEngine) -> None:
        """Belong to an engine."""
        self._engine = engine
        self._events: deque[Received] = deque()
        self._changed = asyncio.Event()
        self._is_broken = False

    async def send(self, message: BaseModel, tensors: Tensors = NO_TENSORS) -> None:
        """Hand a message to the engine."""
        await self._engine.wait_while_frozen()
        if self._is_broken:
            raise _broken()
        self._engine.handle(message, tensors, self)

    async def receive(self) -> Received:
        """Return the next event."""
        while not self._events:
            if self._is_broken:
                raise _broken()
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()

    def close(self) -> None:
        """Break off; the engine parks or ends the session."""
        self.break_off()
        self._engine.on_closed(self)

    def post(self, received: Received) -> None:
        """Say something to the reader."""
        self._events.append(received)
        self._changed.set()

    def break_off(self) -> None:
        """Be broken from now on, as a connection to a dead server is."""
        self._is_broken = True
        self._changed.set()


@dataclass
class _World:
    info: contract.WorldInfo
    camera: PatternCamera = field(repr=False)


class FakeEngine:
    """One fake engine; several may share a store, as servers of one release do."""

    def __init__(self, config: FakeEngineConfig, store: FakeStore | None = None) -> None:
        """Draw the worlds; sessions begin with `open`."""
        self.config = config
        self._store: FakeStore = {} if store is None else store
        self._sessions: dict[str, FakeSession] = {}
        self._parked: dict[str, FakeState] = {}
        self._is_dead = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._worlds = {name: self._draw_world(name) for name in config.worlds}

    @property
    def num_sessions(self) -> int:
        """Slots in use."""
        return sum(not session.is_paused for session in self._sessions.values())

    async def describe(
        self, timeout_seconds: float, *, with_images: bool = False
    ) -> contract.Description:
        """Return what the engine serves."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.wait_while_frozen()
        except TimeoutError as error:
            raise SessionError(ErrorCode.TIMEOUT, "the fake engine is frozen") from error
        if self._is_dead:
            raise _broken()
        return contract.Description(
            release=self.config.release,
            height=self.config.height,
            width=self.config.width,
            frames_per_segment=self.config.frames_per_segment,
            worlds=tuple(
                world.info.model_copy(update={"image": _base64_of(world)} if with_images else {})
                for world in self._worlds.values()
            ),
            num_slots=self.config.num_slots,
            num_sessions=self.num_sessions,
            num_parked=len(self._parked),
            frames_per_second=self.config.frames_per_second,
        )

    async def open(
        self,
        message: contract.SessionStart | contract.SessionResume,
        tensors: Tensors = NO_TENSORS,
    ) -> FakeStream:
        """Open a stream with its first message."""
        stream = FakeStream(self)
        if self._is_dead:
            raise _broken()
        await stream.send(message, tensors)
        return stream

    async def close(self) -> None:
        """End every session's work."""
        self.die()

    def die(self) -> None:
        """Break every stream and forget what is in memory, as a killed server does."""
        self._is_dead = True
        self._parked.clear()
        for session in self._sessions.values():
            session.stop()
            session.stream.break_off()
        self._sessions.clear()

    def revive(self) -> None:
        """Answer again, with nothing but the store."""
        self._is_dead = False

    def freeze(self) -> None:
        """Take in nothing and make nothing until `thaw`, as a stopped process does."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on."""
        self._thawed.set()

    def fail_session(self, session_id: str) -> None:
        """Let a session fail as one does whose segment cannot be made."""
        self._sessions[session_id].fail(f"session {session_id} cannot go on: told to fail")

    async def wait_while_frozen(self) -> None:
        """Return once the engine is not frozen."""
        await self._thawed.wait()

    def handle(self, message: BaseModel, tensors: Tensors, stream: FakeStream) -> None:
        """Take in one message and answer it on the stream."""
        try:
            if isinstance(message, contract.SessionStart):
                self._start(message, tensors, stream)
            elif isinstance(message, contract.SessionResume):
                self._resume(message, stream)
            else:
                self._in_session(message, tensors, stream)
        except SessionError as error:
            session_id = getattr(message, "session_id", "")
            answers = getattr(message, "type", "")
            stream.post(Received(contract.ErrorEvent.of(error, session_id), answers))

    def on_closed(self, stream: FakeStream) -> None:
        """Park or end the session whose stream was closed."""
        for session in list(self._sessions.values()):
            if session.stream is stream:
                self._remove(session)
                if session.state.start.is_resumable:
                    self._park(session.state)

    def on_ended(self, session: FakeSession, reason: contract.EndReason) -> None:
        """Forget a session that is over, and its state unless another stream goes on with it."""
        self._remove(session)
        if reason != "taken_over":
            self._store.pop(session.state.start.session_id, None)

    def on_durable(self, session: FakeSession) -> None:
        """Keep a copy of a session's state outside of the engine."""
        self._store[session.state.start.session_id] = session.state.copy()
        if len(self._store) > _MAX_STORED:
            self._store.pop(next(iter(self._store)))

    def _start(self, message: contract.SessionStart, tensors: Tensors, stream: FakeStream) -> None:
        if message.session_id in self._sessions:
            sentence = f"session {message.session_id} is open already"
            raise SessionError(ErrorCode.SESSION_EXISTS, sentence)
        name = message.world or self.config.worlds[0]
        if name not in self._worlds:
            sentence = f"world {name!r} is not in the release; it has: {', '.join(self._worlds)}"
            raise SessionError(ErrorCode.UNKNOWN_WORLD, sentence)
        self.require_slot()
        image = tensors.get(contract.IMAGE)
        world = self._worlds[name]
        state = FakeState(
            start=message,
            world="" if image is not None else name,
            prompt=world.info.prompt if message.prompt is None else message.prompt,
            camera=world.camera if image is None else self._camera_of(image),
        )
        self._run(FakeSession(self, state, stream, encoding=message.encoding))

    def _resume(self, message: contract.SessionResume, stream: FakeStream) -> None:
        live = self._sessions.get(message.session_id)
        if live is not None:
            live.end("taken_over")
            live.stream.break_off()
            state: FakeState | None = live.state
        else:
            state = self._parked.get(message.session_id)
        if state is None:
            stored = self._store.get(message.session_id)
            state = None if stored is None else stored.copy()
        if state is None:
            sentence = f"session {message.session_id} is neither open, parked nor stored here"
            raise SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
        if not state.is_paused:
            self.require_slot()
        self._parked.pop(message.session_id, None)
        session = FakeSession(
            self,
            state,
            stream,
            encoding=message.encoding,
            last_frame_index=message.last_frame_index,
        )
        self._run(session)

    def require_slot(self) -> None:
        """Raise `no_free_slot` while all slots are in use."""
        if self.num_sessions >= self.config.num_slots:
            sentence = f"all {self.config.num_slots} slots are in use"
            raise SessionError(ErrorCode.NO_FREE_SLOT, sentence)

    def _run(self, session: FakeSession) -> None:
        self._sessions[session.state.start.session_id] = session
        session.begin()

    def _in_session(self, message: BaseModel, tensors: Tensors, stream: FakeStream) -> None:
        session_id = getattr(message, "session_id", "")
        session = self._sessions.get(session_id)
        if session is not None:
            session.handle(message, tensors)
        elif isinstance(message, contract.ActionsMessage):
            sentence = f"session {session_id} is not open here"
            raise SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
        else:  # the last acknowledgement crosses the session's end on the wire
            answers = getattr(message, "type", "")
            stream.post(Received(contract.Acknowledged(session_id=session_id), answers))

    def _remove(self, session: FakeSession) -> None:
        session.stop()
        if self._sessions.get(session.state.start.session_id) is session:
            del self._sessions[session.state.start.session_id]

    def _park(self, state: FakeState) -> None:
        self._parked[state.start.session_id] = state
        while len(self._parked) > self.config.num_parked:
            self._parked.pop(next(iter(self._parked)))

    def _draw_world(self, name: str) -> _World:
        picture = draw_pattern(self.config.height, self.config.width)
        if name == "night":
            picture = (picture // 2).astype(np.uint8)
        info = contract.WorldInfo(name=name, prompt=f"the {name}, drawn and not dreamt")
        camera = PatternCamera(picture, self.config.frame_bytes)
        if self.config.draws_ahead:
            camera.draw_ahead()
        return _World(info, camera)

    def _camera_of(self, image: NDArray[np.generic]) -> PatternCamera:
        expected = {0: self.config.height, 1: self.config.width, 2: 3}
        contract.require_shape(contract.IMAGE, image.shape, expected, rank=3)
        return PatternCamera(image.astype(np.uint8), self.config.frame_bytes)


def _base64_of(world: _World) -> str:
    return base64.b64encode(world.camera.jpeg(Place())).decode()


def _broken() -> SessionError:
    return SessionError(ErrorCode.DISCONNECTED, "the fake engine is gone")
