"""From a lasting API key to a short-lived token, over the gateway's HTTP address.

It uses the standard library alone, so that the SDK needs no HTTP client. It does not keep keys.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from pydantic import BaseModel, ValidationError

from ..contract import ErrorCode, SessionError


class _Granted(BaseModel):
    token: str


class _Refused(BaseModel):
    code: ErrorCode
    message: str


def fetch_token(token_url: str, api_key: str, *, timeout_seconds: float) -> str:
    """Return a token that opens one session; blocks.

    Raises:
        SessionError: with the gateway's code when it refuses the key, or `disconnected`.
    """
    request = urllib.request.Request(
        token_url,
        data=b"{}",
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            return _Granted.model_validate_json(response.read()).token
    except urllib.error.HTTPError as error:
        raise _refusal(token_url, error) from error
    except OSError as error:
        sentence = f"no token from {token_url}: it does not answer ({error})"
        raise SessionError(ErrorCode.DISCONNECTED, sentence) from error
    except ValidationError as error:
        sentence = f"no token from {token_url}: its answer holds none"
        raise SessionError(ErrorCode.INTERNAL, sentence) from error


def _refusal(token_url: str, error: urllib.error.HTTPError) -> SessionError:
    body = error.read()
    try:
        refused = _Refused.model_validate(json.loads(body))
    except ValueError:
        sentence = f"no token from {token_url}: it answered with status {error.code}"
        return SessionError(ErrorCode.INTERNAL, sentence)
    return SessionError(refused.code, refused.message)
