"""How a session comes in: who asks, may they, is it allowed to be shown, and is there room.

What it finds out is in `Admission`'s backend and the engine's `session_ready`; it tells the player
its place in the queue meanwhile. It does not know what a session does afterwards.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services import contract, protocol
from services.contract import ErrorCode, SessionError
from services.gateway.attachment import Attachment
from services.gateway.audit import prompt_fields
from services.gateway.link import NO_TENSORS, Received, Tensors
from services.gateway.moderation import Content, require_allowed
from services.gateway.outbox import Outbox
from services.gateway.parts import Parts
from services.gateway.resume_token import ResumeTicket
from services.gateway.routing import Route
from services.gateway.settings import KeyConfig
from services.gateway.start_image import decode_image, fit_image
from services.session_state import SessionLife, SessionState


@dataclass(frozen=True)
class Visitor:
    """What a connection says before its first message.

    Attributes:
        address: of the client, for the log.
        token: from its Authorization header.
        traceparent: from its header of this name.
    """

    address: str = ""
    token: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Admitted:
    """A session that may begin.

    Attributes:
        ticket: what its next resume token will say.
        key: whose session it is.
        received: the engine's `session_ready`, with the start image.
    """

    ticket: ResumeTicket
    key: KeyConfig
    received: Received

    @property
    def ready(self) -> contract.SessionReady:
        """What the engine says of the session."""
        event = self.received.event
        if not isinstance(event, contract.SessionReady):
            message = f"{event.type} where only session_ready can be"
            raise TypeError(message)
        return event


class Entrance:
    """Lets one session in; counts it for its key until `leave`."""

    def __init__(
        self, parts: Parts, visitor: Visitor, attachment: Attachment, life: SessionLife,
        outbox: Outbox,
    ) -> None:  # fmt: skip
        """Tell a player of its place through the outbox."""
        self._parts = parts
        self._visitor = visitor
        self._attachment = attachment
        self._life = life
        self._outbox = outbox
        self._granted_state = SessionState.OPENING
        self._asked_at = time.monotonic()
        self._resume_token_id: str | None = None
        self.key: KeyConfig | None = None

    async def open(
        self, message: protocol.Open, session_id: str, on_named: Callable[[], None]
    ) -> Admitted:
        """Let a new session in.

        Raises:
            SessionError: who asks, what is asked for, or that there is no room.
        """
        caller = self._parts.authority.admit(message.token or self._visitor.token)
        self._count(caller.key, is_new=True)
        image = None
        if message.image is not None:
            image = await asyncio.to_thread(decode_image, message.image)
        content = Content(caller.key.key_id, message.prompt, image)
        seconds = self._parts.config.moderation_seconds
        await require_allowed(self._parts.moderator, content, seconds)
        on_named()
        start = contract.SessionStart(
            session_id=session_id,
            world=message.world,
            prompt=message.prompt,
            seed=message.seed,
            enable_memory=message.enable_memory,
            encoding=message.encoding,
            is_resumable=True,
        )
        route = Route(session_id, message.release, caller.releases)
        received = await self._attachment.open(
            route, start, _image_tensors(image), self._on_position, self._on_granted
        )
        return self._admitted(
            received,
            caller.key,
            opened_at=time.time(),
            seed=message.seed,
            late_frames=message.late_frames,
            traceparent=message.traceparent or self._visitor.traceparent or "",
            **prompt_fields(message.prompt),
        )

    async def resume(
        self, message: protocol.Resume, on_named: Callable[[ResumeTicket], None]
    ) -> Admitted:
        """Let a session go on.

        Raises:
            SessionError: that the token is not good, or that nobody has the session any more.
        """
        ticket, self._resume_token_id = self._parts.resume_tokens.redeem(message.resume_token)
        key = self._parts.authority.key_named(ticket.key_id)
        address = await self._parts.directory.take_over(ticket.session_id)
        if address is not None:
            ticket = ticket.model_copy(update={"backend": address})
        self._count(key, is_new=False)
        on_named(ticket)
        resume = contract.SessionResume(
            session_id=ticket.session_id,
            last_frame_index=message.last_frame_index,
            encoding=message.encoding,
        )
        self._granted_state = SessionState.RESUMING
        patience = self._parts.config.limits.recover_seconds
        if ticket.backend:
            self._parts.retirement.recall(ticket.backend, patience)
        received = await self._attachment.resume(
            route_back(ticket),
            resume,
            patience,
            self._on_position,
            self._on_granted,
        )
        self._parts.metrics.resumes.labels("client").inc()
        return self._admitted(
            received,
            key,
            opened_at=ticket.opened_at,
            seed=ticket.seed,
            late_frames=ticket.late_frames,
            traceparent=ticket.traceparent,
        )

    def confirm(self) -> None:
        """Note that the player has its session: the token that it came with is used up."""
        self._resume_token_id = None

    def leave(self) -> None:
        """Stop counting the session; a token that brought the player nothing is good again."""
        if self._resume_token_id is not None:
            self._parts.resume_tokens.give_back(self._resume_token_id)
        if self.key is not None:
            self._parts.quota.leave(self.key)
            self.key = None

    def _count(self, key: KeyConfig, *, is_new: bool) -> None:
        self._parts.quota.enter(key, is_new=is_new)
        self.key = key

    def _admitted(
        self, received: Received, key: KeyConfig, *, opened_at: float, seed: int,
        late_frames: protocol.LatePolicy, traceparent: str, **audited: object,
    ) -> Admitted:  # fmt: skip
        metrics = self._parts.metrics
        ticket_of = ResumeTicket(
            session_id="", key_id=key.key_id, release="", backend=self._attachment.address,
            opened_at=opened_at, seed=seed, late_frames=late_frames, traceparent=traceparent,
        )  # fmt: skip
        admitted = Admitted(ticket_of, key, received)
        ready = admitted.ready
        ticket = ticket_of.model_copy(
            update={"session_id": ready.session_id, "release": ready.release}
        )
        metrics.first_frame_seconds.observe(time.monotonic() - self._asked_at)
        if not ready.is_resumed:
            metrics.opened.labels(ready.release).inc()
        self._parts.audit.write(
            "resume" if ready.is_resumed else "open",
            session_id=ready.session_id,
            key_id=key.key_id,
            release=ready.release,
            backend=self._attachment.address,
            client=self._visitor.address,
            world=ready.world,
            **audited,
        )
        return Admitted(ticket, key, received)

    def _on_position(self, position: int, length: int) -> None:
        if self._life.state is not SessionState.QUEUED:
            self._life.move(SessionState.QUEUED)
        self._outbox.push(protocol.Queued(position=position, length=length))

    def _on_granted(self) -> None:
        self._parts.metrics.queue_seconds.observe(time.monotonic() - self._asked_at)
        if self._life.state is not self._granted_state:
            self._life.move(self._granted_state)


def new_session_id() -> str:
    """Return an id that cannot be guessed."""
    return uuid.uuid4().hex


def route_back(ticket: ResumeTicket, without: str = "") -> Route:
    """Return the way back to a session's engine, or to one of the same release."""
    address = None if ticket.backend == without else ticket.backend
    return Route(ticket.session_id, ticket.release, address=address, without=without)


def require_version(version: int) -> None:
    """Check a first message's version; raises `unsupported_version`."""
    if version != protocol.PROTOCOL_VERSION:
        sentence = f"version {version}, the gateway speaks {protocol.PROTOCOL_VERSION}"
        raise SessionError(ErrorCode.UNSUPPORTED_VERSION, sentence)


def _image_tensors(
    image: NDArray[np.uint8] | None,
) -> Callable[[contract.Description], Awaitable[Tensors]]:
    async def tensors_for(description: contract.Description) -> Tensors:
        if image is None:
            return NO_TENSORS
        fitted = await asyncio.to_thread(fit_image, image, description.height, description.width)
        return {contract.IMAGE: fitted}

    return tensors_for
