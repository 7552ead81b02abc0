"""The door to an engine: open a session's stream, send messages, receive events.

Two things stand behind it: Triton over gRPC (`triton_link`) and an engine in this process that
only draws patterns (`fake_engine`). Encoded frames pass through as the bytes they came as. This
module does not know players, tokens or queues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from services.contract import Description, Event, SessionResume, SessionStart

Tensors = Mapping[str, NDArray[np.generic]]
NO_TENSORS: Tensors = {}


@dataclass(frozen=True, slots=True)
class Received:
    """One event with the encoded frames that came beside it.

    Attributes:
        answers: type of the message that the event answers; frames, `session_ready` and
            `session_end` come on the message that opened or resumed the session.
    """

    event: Event
    answers: str
    frames: Sequence[bytes] = ()
    frame_index: Sequence[int] = ()
    action_index: Sequence[int] = ()


class EngineStream(Protocol):
    """One session's stream to an engine."""

    async def send(self, message: BaseModel, tensors: Tensors = NO_TENSORS) -> None:
        """Send a message, waiting while the engine takes none.

        Raises:
            SessionError: `disconnected`, when the stream is broken.
        """

    async def receive(self) -> Received:
        """Return the next event.

        Raises:
            SessionError: `disconnected`, when the stream is broken.
        """

    def close(self) -> None:
        """Break the stream off: a resumable session is parked by its engine, another one ends."""


class EngineLink(Protocol):
    """One engine, at one address."""

    async def describe(self, timeout_seconds: float, *, with_images: bool = False) -> Description:
        """Return what the engine serves and how full it is.

        Raises:
            SessionError: `disconnected` or `timeout`.
        """

    async def open(
        self, message: SessionStart | SessionResume, tensors: Tensors = NO_TENSORS
    ) -> EngineStream:
        """Open a stream and send its first message; the answer is the stream's first event.

        Raises:
            SessionError: `disconnected`, when the engine cannot be reached.
        """

    async def close(self) -> None:
        """Give back what the link holds."""
