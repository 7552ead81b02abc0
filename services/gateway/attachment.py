"""A session's hold on its engine: the slot it is counted on and the stream it speaks through.

It finds a backend for a new session, for one that is resumed and for one whose engine was lost,
and gives everything back on `close`. It does not know players.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

from services import contract
from services.contract import (
    Description,
    ErrorCode,
    SessionError,
    SessionResume,
    SessionStart,
    SessionStop,
)
from services.gateway.admission import Admission, OnPosition
from services.gateway.backends import Backend, BackendPool
from services.gateway.link import NO_TENSORS, EngineStream, Received, Tensors
from services.gateway.routing import Route
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_STOP_SECONDS = 2.0
_ANOTHER_MAY_SERVE = frozenset({ErrorCode.DISCONNECTED, ErrorCode.SHUTTING_DOWN})
_ANOTHER_MAY_KNOW = frozenset({ErrorCode.UNKNOWN_SESSION, ErrorCode.STATE_LOST})

TensorsFor = Callable[[Description], Awaitable[Tensors]]


async def no_tensors(_description: Description) -> Tensors:
    """Return nothing to send beside a message."""
    return NO_TENSORS


class Attachment:
    """One session's backend and stream, either of which it may lack."""

    def __init__(self, admission: Admission, pool: BackendPool, ready_seconds: float) -> None:
        """Hold nothing; an engine has so many seconds to be ready with a session."""
        self._admission = admission
        self._pool = pool
        self._ready_seconds = ready_seconds
        self._holds_slot = False
        self._stream: EngineStream | None = None
        self.backend: Backend | None = None

    @property
    def address(self) -> str:
        """Where the engine is, empty while there is none."""
        return "" if self.backend is None else self.backend.address

    @property
    def model_version(self) -> str:
        """Version of the engine's release in the registry, empty when it is not known."""
        return "" if self.backend is None else self.backend.model_version

    async def open(
        self,
        route: Route,
        message: SessionStart | SessionResume,
        tensors_for: TensorsFor,
        on_position: OnPosition,
        on_granted: Callable[[], None],
    ) -> Received:
        """Wait for a slot and return the engine's `session_ready` with what came beside it.

        Raises:
            SessionError: what the queue or the engine says.
        """
        place = self._admission.place()
        while True:
            backend = await self._admission.acquire(route, place, on_position)
            self._take(backend)
            on_granted()
            try:
                return await self._begin(backend, message, tensors_for)
            except SessionError as error:
                self.close()
                if not _let_go(backend, error):
                    raise

    async def resume(
        self, route: Route, message: SessionResume, seconds: float, on_position: OnPosition,
        on_granted: Callable[[], None],
    ) -> Received:  # fmt: skip
        """Find the session's state again, within so many seconds, and return `session_ready`.

        Raises:
            SessionError: `no_backend`, or what the engines say.
        """
        deadline = time.monotonic() + seconds
        refused: dict[str, SessionError] = {}
        while True:
            backend = self._pool.choose_again(route, refused)
            if backend is not None:
                backend.reserve()
                self._take(backend)
                try:
                    return await self._begin(backend, message, no_tensors)
                except SessionError as error:
                    self.close()
                    if error.code in _ANOTHER_MAY_KNOW:
                        refused[backend.address] = error
                        continue
                    if not _let_go(backend, error):
                        raise
                    if error.code is ErrorCode.NO_FREE_SLOT:
                        return await self.open(route, message, no_tensors, on_position, on_granted)
            is_known_there = route.address not in refused
            if not is_known_there or time.monotonic() > deadline:
                raise next(iter(refused.values()), _nobody(seconds))
            await self._pool.wait_for_change(_RETRY_SECONDS)

    async def send(self, message: BaseModel, tensors: Tensors = NO_TENSORS) -> None:
        """Send a message on the stream; raises `SessionError` `disconnected`."""
        if self._stream is None:
            raise SessionError(ErrorCode.DISCONNECTED, "the session has no engine now")
        await self._stream.send(message, tensors)

    async def receive(self) -> Received:
        """Return the stream's next event; raises `SessionError` `disconnected`."""
        if self._stream is None:
            raise SessionError(ErrorCode.DISCONNECTED, "the session has no engine now")
        return await self._stream.receive()

    def give_slot_away(self) -> None:
        """Let another session have the slot while this one is paused."""
        if self._holds_slot and self.backend is not None:
            self._holds_slot = False
            self._admission.release(self.backend)

    def take_slot_back(self) -> None:
        """Count the slot again after a pause."""
        if not self._holds_slot and self.backend is not None:
            self._holds_slot = True
            self.backend.reserve()

    async def stop(self, session_id: str) -> None:
        """Let the engine end the session, if it answers at all."""
        if self._stream is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._stream.send(SessionStop(session_id=session_id))
                while not isinstance((await self._stream.receive()).event, contract.SessionEnd):
                    continue
        except (SessionError, TimeoutError):
            log_event(logger, "session_not_stopped", logging.WARNING, session_id=session_id)

    def break_off(self) -> None:
        """Break the stream off under whoever reads it."""
        if self._stream is not None:
            self._stream.close()

    def lose(self) -> None:
        """Take in that the stream is broken."""
        if self.backend is not None:
            self.backend.suspect()
        self.close()

    def close(self) -> None:
        """Break the stream off and give the slot back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.give_slot_away()
        self.backend = None

    def _take(self, backend: Backend) -> None:
        self.backend = backend
        self._holds_slot = True

    async def _begin(
        self, backend: Backend, message: SessionStart | SessionResume, tensors_for: TensorsFor
    ) -> Received:
        if backend.description is None:
            raise SessionError(ErrorCode.DISCONNECTED, f"{backend.address} has not answered yet")
        tensors = await tensors_for(backend.description)
        self._stream = await backend.link.open(message, tensors)
        try:
            async with asyncio.timeout(self._ready_seconds):
                received = await self._stream.receive()
        except TimeoutError as error:
            sentence = f"{backend.address} was not ready within {self._ready_seconds:g} s"
            raise SessionError(ErrorCode.TIMEOUT, sentence) from error
        event = received.event
        if isinstance(event, contract.ErrorEvent):
            raise SessionError(event.code, event.message)
        if not isinstance(event, contract.SessionReady):
            sentence = f"{backend.address} answered with {event.type}, expected session_ready"
            raise SessionError(ErrorCode.INTERNAL, sentence)
        return received


def _let_go(backend: Backend, error: SessionError) -> bool:
    """Note what a refusal says of a backend; True when the session may go elsewhere."""
    if error.code is ErrorCode.NO_FREE_SLOT:
        backend.mark_full()
        return True
    if error.code in _ANOTHER_MAY_SERVE:
        backend.suspect()
        return True
    return False


def _nobody(seconds: float) -> SessionError:
    sentence = f"no engine that has or can read the session answered within {seconds:g} s"
    return SessionError(ErrorCode.NO_BACKEND, sentence)
