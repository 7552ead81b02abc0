"""How a single backend goes."""

from __future__ import annotations

import pytest

from services import protocol
from services.gateway.backends import BackendConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
def two_backends(config):
    backends = [BackendConfig(address=f"engine:{k}", share=2 - k) for k in (1, 2)]
    return config.model_copy(update={"backends": tuple(backends)})


async def test_sessions_are_moved_to_another_backend_and_lose_nothing(
    gateway, two_backends
) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        await player.act(0, 16)
        await player.until_frame(16)
        expected = player.frames
    async with gateway(two_backends) as running, running.connect() as player:
        pool = running.parts.pool
        await running.until(lambda: all(backend.is_up for backend in pool))
        await player.open()
        await player.act(0, 6)
        await player.until_frame(4)
        [session] = running.parts.directory
        first = pool.get(session.backend_address)
        running.parts.retirement.remove(first, move_after_seconds=0.0)
        await running.until(lambda: len(pool) == 1)
        assert session.backend_address != first.address
        await player.act(6, 10)
        await player.until_frame(16)
        assert player.frames == expected


async def test_a_session_that_nobody_else_can_serve_stays(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        [backend] = running.parts.pool
        running.parts.retirement.drain(backend, move_after_seconds=0.0)
        assert (await player.receive_a(protocol.Notice)).kind == "draining"
        await player.act(0, 4)
        await player.until_frame(4)


async def test_a_backend_that_is_added_again_stays(gateway) -> None:
    async with gateway() as running, running.connect() as player:
        await player.open()
        [backend] = running.parts.pool
        running.parts.retirement.remove(backend)
        running.parts.pool.add(backend.config)
        await player.send(protocol.Close())
        await player.receive_a(protocol.Ended)
        async with running.connect() as next_player:
            await next_player.open()
        assert running.parts.pool.get("engine:1") is backend
