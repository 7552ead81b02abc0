"""How a gateway goes: no new sessions, a notice to live ones, time to finish, then handing over.

A session that is not finished when the time is over is dropped and can be resumed elsewhere. It
does not know signals or processes.
"""

from __future__ import annotations

import asyncio
import logging
import time

from services import protocol
from services.contract import ErrorCode, SessionError
from services.gateway.parts import Parts
from services.session_state import SessionState
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_STEP_SECONDS = 0.1
_NOT_YET_OPEN = frozenset({SessionState.NEW, SessionState.QUEUED})


class Drain:
    """Lets one gateway run dry, once."""

    def __init__(self, parts: Parts) -> None:
        """Not begun."""
        self._parts = parts
        self._is_begun = False

    @property
    def is_begun(self) -> bool:
        """Tell whether the gateway takes no new sessions any more."""
        return self._is_begun

    async def run(self) -> None:
        """Return once no session is live."""
        self._is_begun = True
        seconds = self._parts.config.drain_seconds
        directory = self._parts.directory
        log_event(logger, "drain_begun", sessions=len(directory), seconds=seconds)
        for session in directory:
            if session.state in _NOT_YET_OPEN:
                session.abort(_going_away())
            else:
                session.tell(protocol.Notice(kind="draining", seconds=seconds))
        deadline = time.monotonic() + seconds
        while len(directory) and time.monotonic() < deadline:
            await asyncio.sleep(_STEP_SECONDS)
        left = list(directory)
        for session in left:
            session.abort(_going_away())
        await asyncio.gather(*(session.wait_until_over() for session in left))
        log_event(logger, "drain_over", handed_over=len(left))


def _going_away() -> SessionError:
    sentence = "the gateway goes away; open or resume on another one"
    return SessionError(ErrorCode.SHUTTING_DOWN, sentence)
