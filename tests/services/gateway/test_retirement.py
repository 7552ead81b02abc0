"""How a single backend goes."""

from __future__ import annotations

import pytest

from services import protocol
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
def two_backends(config):
    backends = [BackendConfig(address=f"engine:{k}", share=2 - k) for k in (1, 2)]
    return config.model_copy(update={"backends": tuple(backends)})


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_session_comes_back_to_a_backend_that_left_its_name_before_this_gateway_began(
    gateway, config, engine_config
) -> None:
    """So it is while a release is replaced: the old pods still have sessions, and no name."""
    old = FakeEngine(engine_config)
    new = FakeEngine(engine_config.model_copy(update={"release": "sha256:new"}))
    engines = {"engine:1": old, "engine:2": new}
    limits = config.limits.model_copy(update={"recover_seconds": 1.0})
    served = {"backends": (BackendConfig(address="engine:2"),), "limits": limits}
    after = config.model_copy(update=served)
    async with (
        gateway(config, link=engines.__getitem__) as before,
        gateway(after, link=engines.__getitem__) as running,
    ):
        async with before.connect() as player:
            ready = await player.open()
            await player.act(0, 4)
            await player.until_frame(4)
        async with running.connect() as player:
            again = await player.resume(ready.resume_token, 4)
            assert (again.session_id, again.release) == (ready.session_id, ready.release)
            await player.act(again.next_action_index, 4)
            await player.until_frame(8)
            async with running.connect() as other:
                assert (await other.open()).release == "sha256:new"
            await player.send(protocol.Close())
            await player.receive_a(protocol.Ended)
        await running.until(lambda: len(running.parts.pool) == 1)
        assert running.parts.pool.get("engine:1") is None
