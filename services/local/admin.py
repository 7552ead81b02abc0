"""The gateway's admin routes as calls: which engines it sends sessions to.

It uses the standard library's HTTP client and knows neither processes nor releases.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from pydantic import TypeAdapter

from services.gateway.admin import BackendAnswer
from worldloom.errors import ServingError

_TIMEOUT_SECONDS = 10.0
_ANSWERS: TypeAdapter[list[BackendAnswer]] = TypeAdapter(list[BackendAnswer])


class GatewayAdmin:
    """Calls the admin routes of one gateway."""

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        """Know the gateway's address, and a key where it asks for one."""
        self._url = url
        self._api_key = api_key

    def backends(self) -> list[BackendAnswer]:
        """Return the backends as the gateway sees them."""
        return _ANSWERS.validate_json(self._call("GET", "/admin/backends"))

    def add(self, address: str, *, model_version: str = "", share: float = 1.0) -> BackendAnswer:
        """Add a backend; it takes new sessions once it has answered."""
        asked = {"address": address, "model_version": model_version, "share": share}
        return BackendAnswer.model_validate_json(self._call("POST", "/admin/backends", asked))

    def drain(self, address: str, *, move_after_seconds: float | None = None) -> BackendAnswer:
        """Give a backend no new sessions; move those that it has after a time, if one is given."""
        asked = {"address": address, "move_after_seconds": move_after_seconds}
        return BackendAnswer.model_validate_json(self._call("POST", "/admin/backends/drain", asked))

    def remove(self, address: str, *, move_after_seconds: float | None = None) -> None:
        """Drain a backend and let the gateway forget it once no session needs it."""
        query = {"address": address}
        if move_after_seconds is not None:
            query["move_after_seconds"] = str(move_after_seconds)
        self._call("DELETE", f"/admin/backends?{urllib.parse.urlencode(query)}")

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")[:300]
            message = f"gateway {self._url} refused {method} {path} ({error.code}): {told}"
            raise ServingError(message) from error
        except OSError as error:
            message = f"gateway {self._url} does not answer to {method} {path} ({error})"
            raise ServingError(message) from error
        return answer
