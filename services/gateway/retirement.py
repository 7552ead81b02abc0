"""How a backend goes: no new sessions, a notice to its live ones, its sessions finished or moved.

It knows the pool and the directory, and not who asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine

from services import protocol
from services.gateway.backends import Backend, BackendConfig, BackendPool
from services.gateway.directory import Directory
from services.gateway.routing import Route
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_STEP_SECONDS = 0.1


class Retirement:
    """Lets single backends run dry."""

    def __init__(self, pool: BackendPool, directory: Directory) -> None:
        """Nobody goes yet."""
        self._pool = pool
        self._directory = directory
        self._leaving: dict[str, asyncio.Task[None]] = {}

    def drain(self, backend: Backend, move_after_seconds: float | None = None) -> None:
        """Give a backend no new sessions; after so many seconds move those that are left."""
        self._pool.drain(backend)
        sessions = self._directory.on(backend.address)
        for session in sessions:
            session.tell(protocol.Notice(kind="draining", seconds=move_after_seconds or 0.0))
        log_event(logger, "backend_draining", address=backend.address, sessions=len(sessions))
        if move_after_seconds is not None:
            self._start(f"move {backend.address}", self._move(backend, move_after_seconds))

    def remove(self, backend: Backend, move_after_seconds: float | None = None) -> None:
        """Drain a backend and forget it once no session is on it or waits for it."""
        self.drain(backend, move_after_seconds)
        self._start(f"remove {backend.address}", self._remove_when_idle(backend))

    def recall(self, address: str, seconds: float) -> None:
        """Take in the backend of a session that comes back, where this gateway does not know it.

        It left its name before this gateway looked, so it gets no new sessions; after so many
        seconds it is forgotten as soon as no session is on it.
        """
        if self._pool.get(address) is None:
            backend = self._pool.add(BackendConfig(address=address, share=0.0))
            self._pool.drain(backend)
            self._start(f"remove {address}", self._remove_later(backend, seconds))

    async def close(self) -> None:
        """Give up what is under way."""
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        if name in self._leaving:
            work.close()
            return
        task = asyncio.create_task(work)
        self._leaving[name] = task
        task.add_done_callback(lambda _task: self._leaving.pop(name, None))

    async def _remove_later(self, backend: Backend, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._remove_when_idle(backend)

    async def _remove_when_idle(self, backend: Backend) -> None:
        while self._directory.is_needed(backend.address) or backend.num_sessions:
            await asyncio.sleep(_STEP_SECONDS)
            if not backend.is_draining:
                return  # it was added again meanwhile
        if self._pool.get(backend.address) is backend and backend.is_draining:
            self._pool.remove(backend)

    async def _move(self, backend: Backend, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._directory.on(backend.address) and time.monotonic() < deadline:
            await asyncio.sleep(_STEP_SECONDS)
        for session in self._directory.on(backend.address):
            route = Route(session.session_id, backend.digest)
            if backend.is_draining and self._pool.choose(route) is not None:
                session.move()
