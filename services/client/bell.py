"""A bell for tasks of one event loop: who waits goes on when it rings, and looks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..contract import ErrorCode, SessionError


class Bell:
    """Wakes those that wait for a condition over state that is changed in the same loop."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        """Let everybody look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self) -> None:
        """Wait for the next ring."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def until(
        self, condition: Callable[[], bool], *, timeout_seconds: float, what: str
    ) -> None:
        """Wait until a condition holds.

        Raises:
            SessionError: `timeout`, saying what was waited for.
        """
        if condition():
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                while not condition():
                    await self.wait()
        except TimeoutError as error:
            sentence = f"no {what} within {timeout_seconds:g} s"
            raise SessionError(ErrorCode.TIMEOUT, sentence) from error
