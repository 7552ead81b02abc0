"""Resume tokens: what a client shows to go on with a session whose connection broke.

A token says all that a gateway needs to know about the session, signed, so that a restarted
gateway or another replica with the same secret can go on with it. It is good for as long as the
session may live; how long a dropped one waits is for the gateway that saw it drop, and for its
engine, to say. It works once: its id is remembered here until it expires. What a restart forgets is
which tokens were used; then the engine's takeover decides, and the latest client has the session.
It does not know sockets.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from services.contract import ErrorCode, SessionError
from services.gateway.one_time import OneTimeIds
from services.gateway.signature import InvalidToken, Signature
from services.protocol import LatePolicy

_AUDIENCE = "worldloom-resume"


class ResumeTicket(BaseModel):
    """What a resume token says about its session.

    Attributes:
        session_id: of the engine's session.
        key_id: the API key that the session is counted for.
        release: digest of the release that the session began with.
        backend: address of the engine that has it.
        opened_at: seconds since 1970, from which the session's age counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: str
    key_id: str
    release: str
    backend: str
    opened_at: float
    seed: int
    late_frames: LatePolicy
    traceparent: str = ""


class ResumeTokens:
    """Signs and redeems resume tokens."""

    def __init__(self, secret: str, max_age_seconds: float, clock: Callable[[], float]) -> None:
        """Sign with a secret; a token is good until its session is so old."""
        self._signature = Signature(secret)
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._used = OneTimeIds(clock)

    def issue(self, ticket: ResumeTicket) -> str:
        """Return a new token for a session."""
        claims = {
            "aud": _AUDIENCE,
            "exp": ticket.opened_at + self._max_age_seconds,
            "jti": uuid.uuid4().hex,
            "ticket": ticket.model_dump(),
        }
        return self._signature.sign(claims)

    def redeem(self, token: str) -> tuple[ResumeTicket, str]:
        """Return what a token says and its id, and let it be worth nothing from now on.

        Raises:
            SessionError: `bad_token`, `expired_token` or `replayed_token`.
        """
        try:
            claims = self._signature.read(token, audience=_AUDIENCE, required=("exp", "jti"))
            ticket = ResumeTicket.model_validate(claims["ticket"])
        except (InvalidToken, ValidationError, KeyError) as error:
            sentence = "this is no resume token of this service, expected that of the latest ready"
            raise SessionError(ErrorCode.BAD_TOKEN, sentence) from error
        expires_at = float(claims["exp"])
        if expires_at < self._clock():
            sentence = f"the session is older than {self._max_age_seconds:g} s and is over"
            raise SessionError(ErrorCode.EXPIRED_TOKEN, sentence)
        if not self._used.take(str(claims["jti"]), expires_at):
            sentence = "this resume token has been used, expected that of the latest ready"
            raise SessionError(ErrorCode.REPLAYED_TOKEN, sentence)
        return ticket, str(claims["jti"])

    def give_back(self, token_id: str) -> None:
        """Let a token be good again: its session did not come to its client."""
        self._used.give_back(token_id)
