"""The queue before the slots: bounded, first come first served, positions told as they change.

A session that waits for a release without room does not hold up one behind it that can go
elsewhere. It does not know sockets or what a session does.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field

from services.contract import ErrorCode, SessionError
from services.gateway.backends import Backend, BackendPool
from services.gateway.routing import Route

OnPosition = Callable[[int, int], None]


@dataclass(order=True)
class _Waiter:
    number: int
    route: Route = field(compare=False)
    on_position: OnPosition = field(compare=False)
    granted: asyncio.Future[Backend] = field(compare=False)
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Place:
    """A session's place in the queue, kept when the engine refuses it after all."""

    number: int
    since: float


class Admission:
    """Gives slots of backends to sessions in the order in which they came."""

    def __init__(self, pool: BackendPool, limit: int, seconds: float) -> None:
        """Let at most `limit` sessions wait, each for at most so many seconds."""
        self._pool = pool
        self._limit = limit
        self._seconds = seconds
        self._numbers = itertools.count()
        self._waiters: list[_Waiter] = []
        pool.on_change(self.pump)

    @property
    def length(self) -> int:
        """Sessions that wait."""
        return len(self._waiters)

    def place(self) -> Place:
        """Return the place behind all others."""
        return Place(next(self._numbers), time.monotonic())

    async def acquire(self, route: Route, place: Place, on_position: OnPosition) -> Backend:
        """Wait for a slot and return its backend, on which one session is now counted.

        Raises:
            SessionError: `no_backend`, `unknown_release`, `queue_full` or `queue_timeout`.
        """
        self._pool.require_known(route)
        granted: asyncio.Future[Backend] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(place.number, route, on_position, granted)
        insort(self._waiters, waiter)
        self._grant()
        if not granted.done() and len(self._waiters) > self._limit:
            self._waiters.remove(waiter)
            sentence = f"{self._limit} sessions wait for a slot, which is as many as may"
            raise SessionError(ErrorCode.QUEUE_FULL, sentence)
        self._tell()
        remaining = place.since + self._seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, remaining)):
                return await self._granted(waiter)
        except TimeoutError as error:
            raise self._timeout() from error
        finally:
            self._leave(waiter)

    def release(self, backend: Backend) -> None:
        """Give a session's slot back."""
        backend.release()
        self.pump()

    def pump(self) -> None:
        """Give what room there is to those who wait."""
        self._grant()
        self._tell()

    async def _granted(self, waiter: _Waiter) -> Backend:
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.release(waiter.granted.result())  # given as its taker went away
            raise

    def _grant(self) -> None:
        for waiter in list(self._waiters):
            if waiter.granted.done():
                continue
            backend = self._pool.choose(waiter.route)
            if backend is not None:
                backend.reserve()
                self._waiters.remove(waiter)
                waiter.granted.set_result(backend)

    def _tell(self) -> None:
        for position, waiter in enumerate(self._waiters, start=1):
            if waiter.position != position:
                waiter.position = position
                waiter.on_position(position, len(self._waiters))

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._tell()

    def _timeout(self) -> SessionError:
        if not self._pool.is_any_up:
            sentence = f"no engine answered within {self._seconds:g} s"
            return SessionError(ErrorCode.NO_BACKEND, sentence)
        sentence = f"no slot became free within {self._seconds:g} s"
        return SessionError(ErrorCode.QUEUE_TIMEOUT, sentence)
