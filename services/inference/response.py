"""What the engine answers with, and where its answers go. It knows no transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.contract import Event


@dataclass(frozen=True)
class Response:
    """One event with the encoded frames that belong to it."""

    event: Event
    frames: tuple[bytes, ...] = ()
    frame_index: tuple[int, ...] = ()
    action_index: tuple[int, ...] = ()


class ResponseSink(Protocol):
    """Where the responses of one request go."""

    def send(self, response: Response, *, is_last: bool = False) -> None:
        """Send one response, and with the last one say that it was the last."""

    def is_cancelled(self) -> bool:
        """Tell whether nobody listens any more."""

    def close(self) -> None:
        """Say that no response comes any more; does nothing after the last one."""
