"""Where a gateway is: one address as people write it, and the addresses behind it.

It knows the gateway's paths and does not connect.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ..protocol import SESSION_PATH, TOKEN_PATH

_HTTP_OF = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_WS_OF = {"http": "ws", "https": "wss"}


@dataclass(frozen=True)
class Endpoint:
    """The addresses of one gateway.

    Attributes:
        session_url: where sessions are opened, ws:// or wss://.
        token_url: where an API key is exchanged for a token, http:// or https://.
    """

    session_url: str
    token_url: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Return the addresses behind `http://host:port` or `ws://host:port`, with a path or none.

        Raises:
            ValueError: for another scheme, or an address without a host.
        """
        parts = urlsplit(url)
        if parts.scheme not in _HTTP_OF or not parts.hostname:
            message = (
                f"address {url!r} is no gateway's, expected ws://, wss://, http:// or https://"
            )
            raise ValueError(message)
        http = _HTTP_OF[parts.scheme]
        prefix = parts.path.rstrip("/").removesuffix(SESSION_PATH)

        def at(scheme: str, path: str) -> str:
            return urlunsplit((scheme, parts.netloc, prefix + path, "", ""))

        return cls(at(_WS_OF[http], SESSION_PATH), at(http, TOKEN_PATH))


def is_gateway_address(address: str) -> bool:
    """Tell a gateway's address from the bare `host:port` of an inference server."""
    return urlsplit(address).scheme in _HTTP_OF and "://" in address
