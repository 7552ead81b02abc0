"""The task behind a session: keeps it on a connection, resumes it when the connection breaks.

It carries messages between the ledger and the gateway and does not know callers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from ..contract import ErrorCode, SessionError
from ..protocol import (
    ActionsReceived,
    ClientMessage,
    Continued,
    Notice,
    Open,
    Queued,
    Ready,
    Segment,
    ServerMessage,
)
from ..session_state import IllegalTransitionError
from .bell import Bell
from .connection import Connection, open_connection
from .frame import Frame
from .ledger import Ledger
from .options import Timeouts

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0

OnNews = Callable[[Queued | Notice], None]


class Courier:
    """Runs until its session is over."""

    def __init__(
        self, url: str, ledger: Ledger, bell: Bell, timeouts: Timeouts, on_news: OnNews | None
    ) -> None:
        """Know the gateway's session address; nothing is opened before `run`."""
        self.num_reconnects = 0
        self._url = url
        self._ledger = ledger
        self._bell = bell
        self._timeouts = timeouts
        self._on_news = on_news
        self._connection: Connection | None = None
        self._was_ready = False
        self._deadline = 0.0
        self._pause_seconds = 0.0

    async def run(self, hello: Open) -> None:
        """Open the session and stay with it to its end; how it ended is in the ledger."""
        reason = await self._stay(lambda: hello)
        while not self._ledger.is_over:
            if not self._may_resume(reason):
                self._ledger.fail(reason)
                return
            self._ledger.drop()
            self._bell.ring()
            await asyncio.sleep(self._pause_seconds * random.uniform(0.5, 1.0))
            reason = await self._stay(self._ledger.hello_again)

    async def send(self, message: ClientMessage) -> None:
        """Send a message while there is a connection; what matters is said again after a break."""
        if self._connection is not None:
            await self._connection.send(message)

    async def send_due(self) -> None:
        """Send the actions whose turn it is, and what follows them."""
        for message in self._ledger.messages():
            await self.send(message)

    def _may_resume(self, reason: SessionError) -> bool:
        """Tell whether another attempt makes sense, and set how long to wait before it."""
        now = time.monotonic()
        if self._was_ready:
            self._was_ready = False
            self._deadline = now + self._timeouts.reconnect_seconds
            self._pause_seconds = 0.0
        else:
            longer = max(2 * self._pause_seconds, _FIRST_PAUSE_SECONDS)
            self._pause_seconds = min(longer, _LONGEST_PAUSE_SECONDS)
        logger.info("session_dropped code=%s reason=%s", reason.code, reason.message)
        return reason.is_retryable and now < self._deadline

    async def _stay(self, hello: Callable[[], ClientMessage]) -> SessionError:
        """Stay on one connection as long as it carries the session; return why it does no more."""
        try:
            async with open_connection(self._url, self._timeouts) as connection:
                await connection.send(hello())
                self._connection = connection
                await self._attend(connection)
        except SessionError as error:
            return error
        except IllegalTransitionError as error:
            return SessionError(ErrorCode.BAD_MESSAGE, f"the gateway is out of step: {error}")
        finally:
            self._connection = None
        return SessionError(ErrorCode.DISCONNECTED, f"the connection to {self._url} broke")

    async def _attend(self, connection: Connection) -> None:
        while not self._ledger.is_over:
            received = await connection.receive()
            if received is None:
                return
            if isinstance(received, Frame):
                self._ledger.give_frame(received)
            else:
                await self._take(received)
            self._bell.ring()
            # Credits keep this from happening, so a gateway that ignores them is not read.
            while not self._ledger.has_room:
                await self._bell.wait()

    async def _take(self, message: ServerMessage) -> None:
        self._ledger.give(message)
        if isinstance(message, Ready):
            self._was_ready = True
            self.num_reconnects += message.is_resumed
            acknowledgement = self._ledger.catch_up()
            if acknowledgement is not None:
                await self.send(acknowledgement)
        if isinstance(message, Ready | Segment | Continued | ActionsReceived):
            await self.send_due()
        if isinstance(message, Queued | Notice) and self._on_news is not None:
            self._on_news(message)
