"""Who a client is: API keys by their digests, and the short-lived tokens made from them.

A token opens one session: its id is remembered until it expires. Keys are compared in constant
time and never kept, logged or told. It does not know sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from services.contract import ErrorCode, SessionError
from services.gateway.one_time import OneTimeIds
from services.gateway.settings import GatewayConfig, KeyConfig
from services.gateway.signature import InvalidToken, Signature

_AUDIENCE = "worldloom-session"
_BEARER = "bearer "


@dataclass(frozen=True)
class Caller:
    """A client that has shown who it is.

    Attributes:
        key: the API key that answers for it.
        releases: what its token allows, all when empty.
    """

    key: KeyConfig
    releases: tuple[str, ...] = ()


class _Claims(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    iss: str
    aud: str
    exp: float
    jti: str
    key: str
    releases: tuple[str, ...]


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an Authorization header."""
    if authorization is None or not authorization.lower().startswith(_BEARER):
        return None
    return authorization[len(_BEARER) :].strip()


class Authority:
    """Knows the keys; makes and checks tokens."""

    def __init__(self, config: GatewayConfig, secret: str, clock: Callable[[], float]) -> None:
        """Sign with a secret; the clock says seconds since 1970."""
        self._config = config
        self._signature = Signature(secret)
        self._clock = clock
        self._keys = {key.key_id: key for key in config.keys}
        self._used = OneTimeIds(clock)

    @property
    def is_open(self) -> bool:
        """Tell whether nobody needs a key."""
        return self._config.auth == "none"

    def key_of(self, api_key: str | None) -> KeyConfig:
        """Return what is known of an API key; raises `SessionError` `bad_key`."""
        if self.is_open and api_key is None:
            return self._config.anonymous
        digest = hashlib.sha256((api_key or "").encode()).hexdigest()
        found: KeyConfig | None = None
        for key in self._config.keys:  # all of them, so that time tells nothing
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            sentence = "the API key is missing or unknown, expected `Authorization: Bearer KEY`"
            raise SessionError(ErrorCode.BAD_KEY, sentence)
        return found

    def key_named(self, key_id: str) -> KeyConfig:
        """Return the key of a session that is resumed; raises `SessionError` `bad_token`."""
        if self.is_open and key_id == self._config.anonymous.key_id:
            return self._config.anonymous
        key = self._keys.get(key_id)
        if key is None:
            sentence = f"key {key_id} of this session is not known any more"
            raise SessionError(ErrorCode.BAD_TOKEN, sentence)
        return key

    def issue(self, key: KeyConfig, releases: tuple[str, ...] = ()) -> tuple[str, float]:
        """Return a token for one session and when it expires.

        Raises:
            SessionError: `unknown_release`, when the key may not use what is asked for.
        """
        foreign = [name for name in releases if key.releases and name not in key.releases]
        if foreign:
            sentence = f"key {key.key_id} may not use {', '.join(foreign)}"
            raise SessionError(ErrorCode.UNKNOWN_RELEASE, sentence)
        expires_at = self._clock() + self._config.token_seconds
        claims = _Claims(
            iss=self._config.issuer,
            aud=_AUDIENCE,
            exp=expires_at,
            jti=uuid.uuid4().hex,
            key=key.key_id,
            releases=releases or key.releases,
        )
        return self._signature.sign(claims.model_dump()), expires_at

    def admit(self, token: str | None) -> Caller:
        """Return who shows a token, and let it be worth nothing from now on.

        Raises:
            SessionError: `bad_token`, `expired_token` or `replayed_token`.
        """
        if self.is_open and token is None:
            return Caller(self._config.anonymous)
        claims = self._claims(token)
        if claims.exp < self._clock():
            sentence = f"the token was good for {self._config.token_seconds:g} s, get a new one"
            raise SessionError(ErrorCode.EXPIRED_TOKEN, sentence)
        caller = Caller(self.key_named(claims.key), claims.releases)
        if not self._used.take(claims.jti, claims.exp):
            sentence = "the token has opened a session before, get a new one"
            raise SessionError(ErrorCode.REPLAYED_TOKEN, sentence)
        return caller

    def _claims(self, token: str | None) -> _Claims:
        if not token:
            sentence = "the token is missing, expected one of POST /v1/token"
            raise SessionError(ErrorCode.BAD_TOKEN, sentence)
        try:
            claims = self._signature.read(token, audience=_AUDIENCE, issuer=self._config.issuer)
            return _Claims.model_validate(claims)
        except (InvalidToken, ValidationError) as error:
            sentence = "this is no token of this service, expected one of POST /v1/token"
            raise SessionError(ErrorCode.BAD_TOKEN, sentence) from error
