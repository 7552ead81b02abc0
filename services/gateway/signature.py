"""The secrets that tokens are signed with, one a line: the first signs, each is accepted.

So a secret can be replaced while tokens of the former one are under way. It does not know what a
token says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

_ALGORITHM = "HS256"

InvalidToken = jwt.InvalidTokenError


def secrets_in(text: str) -> tuple[str, ...]:
    """Return the secrets of a text, one a line; empty lines are passed over."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


class Signature:
    """Signs claims and reads them again."""

    def __init__(self, secrets: str) -> None:
        """Take the secrets, one a line."""
        self._secrets = secrets_in(secrets)
        if not self._secrets:
            message = "no secret to sign tokens with, expected one or more, one a line"
            raise ValueError(message)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a token that says these claims."""
        return jwt.encode(dict(claims), self._secrets[0], _ALGORITHM)

    def read(
        self, token: str, *, audience: str, issuer: str | None = None, required: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return the claims of a token, whose time may be over.

        Raises:
            InvalidToken: when none of the secrets signed it, or it is for somebody else.
        """
        for secret in self._secrets:
            try:
                return jwt.decode(
                    token,
                    secret,
                    [_ALGORITHM],
                    audience=audience,
                    issuer=issuer,
                    options={"require": list(required), "verify_exp": False},
                )
            except jwt.InvalidSignatureError:
                continue
        message = "signed with none of the secrets"
        raise InvalidToken(message)
