"""One client's gRPC stream through the gateway: its token, its slot, its bytes both ways.

Requests are looked into, so that one stream is one session that was let in; responses are not, and
both pass as the bytes they came as. It does not know how streams are accepted.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from pydantic import BaseModel

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.audit import AuditEvent, prompt_fields
from services.gateway.backends import Backend
from services.gateway.grpc_messages import Peeked, event_response, peek
from services.gateway.moderation import Content, require_allowed
from services.gateway.parts import Parts
from services.gateway.routing import Route
from services.gateway.settings import KeyConfig
from services.session_state import SessionLife, SessionState

Call = Any  # grpc.aio has no types; a bidirectional call of bytes
Context = Any
OpenCall = Callable[[str], Call]
_GONE = "the engine or the gateway went away; resume the session"


class GrpcSession:
    """One stream of a client; also what the gateway's directory knows of it."""

    def __init__(
        self, parts: Parts, open_call: OpenCall, context: Context, token: str | None
    ) -> None:
        """Answer on a context; `open_call` begins a stream to the engine at an address."""
        self._parts = parts
        self._open_call = open_call
        self._context = context
        self._token = token
        self._life = SessionLife()
        self._session_id = f"grpc-{uuid.uuid4().hex}"
        self._key: KeyConfig | None = None
        self._backend: Backend | None = None
        self._call: Call | None = None
        self._writing = asyncio.Lock()
        self._aborted: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._attached = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def session_id(self) -> str:
        """Its id: the client's, once it has said one."""
        return self._session_id

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._life.state

    @property
    def backend_address(self) -> str:
        """Where its engine is."""
        return "" if self._backend is None else self._backend.address

    def tell(self, message: BaseModel) -> None:
        """Say nothing: the contract has no notices."""

    def abort(self, error: Exception) -> None:
        """End the stream; the engine parks the session if it can be resumed."""
        if not self._aborted.done():
            self._aborted.set_result(error)

    def make_way(self) -> None:
        """Do nothing: the engine ends a stream itself when another takes its session over."""

    def move(self) -> None:
        """Do nothing: a client that speaks the contract resumes by itself."""

    def tick(self, now: float) -> None:
        """Do nothing: the engine has limits of its own."""

    async def wait_until_over(self) -> None:
        """Return once everything is given back."""
        await self._over.wait()

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """Serve the stream until one of its sides is over."""
        reading = asyncio.create_task(self._read(requests))
        pumping = asyncio.create_task(self._pump())
        ends: set[asyncio.Future[Any]] = {reading, pumping, self._aborted}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not self._aborted.done():
                reading.result()
                if self._call is None:
                    return
                await self._call.done_writing()
                ends.remove(reading)
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._aborted.done() or not pumping.result():
                await self._context.abort(grpc.StatusCode.UNAVAILABLE, _GONE)
        finally:
            reading.cancel()
            pumping.cancel()
            self._give_back()
            await asyncio.gather(reading, pumping, return_exceptions=True)
            self._over.set()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            request_id, session_id = "", ""
            try:
                peeked = peek(data)
                request_id = peeked.request_id
                session_id = getattr(peeked.message, "session_id", "")
                await self._take(peeked, data)
            except SessionError as error:
                self._parts.metrics.count_error(error.code)
                await self._answer(contract.ErrorEvent.of(error, session_id), request_id)

    async def _take(self, peeked: Peeked, data: bytes) -> None:
        if self._key is not None:
            self._parts.quota.take_message(self._key)
        message = peeked.message
        if isinstance(message, contract.Describe):
            await self._answer(self._description(), peeked.request_id)
            return
        if isinstance(message, contract.SessionStart | contract.SessionResume):
            if self._call is not None:
                sentence = f"session {self._session_id} is open on this stream, expected one each"
                raise SessionError(ErrorCode.WRONG_STATE, sentence)
            await self._enter(message, peeked)
        elif self._call is None or message.session_id != self._session_id:
            sentence = f"session {message.session_id} is not open on this stream"
            raise SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
        if self._call is not None:
            await self._call.write(data)

    async def _enter(
        self, message: contract.SessionStart | contract.SessionResume, peeked: Peeked
    ) -> None:
        parts = self._parts
        is_new = isinstance(message, contract.SessionStart)
        if is_new and parts.directory.is_live(message.session_id):
            sentence = f"session {message.session_id} is open already"
            raise SessionError(ErrorCode.SESSION_EXISTS, sentence)
        caller = parts.authority.admit(self._token)
        parts.quota.enter(caller.key, is_new=is_new)
        self._key = caller.key
        prompt = message.prompt if isinstance(message, contract.SessionStart) else None
        try:
            content = Content(caller.key.key_id, prompt, peeked.image)
            await require_allowed(parts.moderator, content, parts.config.moderation_seconds)
            address = None if is_new else parts.directory.address_of(message.session_id)
            self._session_id = message.session_id
            parts.directory.enter(self)
            route = Route(message.session_id, allowed=caller.releases, address=address)
            place = parts.admission.place()
            self._backend = await parts.admission.acquire(route, place, _ignore_position)
        except SessionError:
            self._withdraw()
            raise
        self._begin(self._backend, is_new=is_new, **prompt_fields(prompt))

    def _begin(self, backend: Backend, *, is_new: bool, **audited: object) -> None:
        self._life.move(SessionState.OPENING if is_new else SessionState.RESUMING)
        self._life.move(SessionState.ACTIVE)
        self._call = self._open_call(backend.address)
        self._attached.set()
        if is_new:
            self._parts.metrics.opened.labels(backend.digest).inc()
        else:
            self._parts.metrics.resumes.labels("client").inc()
        self._audit("open" if is_new else "resume", backend=backend.address, **audited)

    def _audit(self, event: AuditEvent, **fields: object) -> None:
        self._parts.audit.write(
            event,
            session_id=self._session_id,
            key_id="" if self._key is None else self._key.key_id,
            client=self._context.peer(),
            **fields,
        )

    async def _pump(self) -> bool:
        """Pass on what the engine says; True when it ended the stream in good order."""
        await self._attached.wait()
        call = self._call
        while call is not None:
            try:
                data = await call.read()
            except grpc.aio.AioRpcError:
                return False
            if data is grpc.aio.EOF:
                break
            async with self._writing:
                await self._context.write(data)
        return True

    async def _answer(self, event: contract.Event, request_id: str) -> None:
        async with self._writing:
            await self._context.write(event_response(event, request_id))

    def _description(self) -> contract.Description:
        up = [each for each in self._parts.pool if each.is_up and not each.is_draining]
        for backend in sorted(up, key=lambda each: -each.share):
            if backend.description is not None:
                return backend.description
        raise SessionError(ErrorCode.NO_BACKEND, "no engine answers")

    def _give_back(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._life.move(SessionState.DROPPED)
            self._parts.metrics.ended.labels("stream_over").inc()
            self._audit("end", outcome="stream_over")
        self._withdraw()

    def _withdraw(self) -> None:
        """Stop counting the session anywhere."""
        self._parts.directory.leave(self, self.backend_address)
        if self._backend is not None:
            self._parts.admission.release(self._backend)
            self._backend = None
        if self._key is not None:
            self._parts.quota.leave(self._key)
            self._key = None


def _ignore_position(_position: int, _length: int) -> None:
    """Say nothing of the queue: the contract has no word for it."""
