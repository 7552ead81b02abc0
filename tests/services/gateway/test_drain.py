"""How a gateway goes."""

from __future__ import annotations

import asyncio

import pytest

from services import protocol
from services.contract import ErrorCode

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_live_sessions_are_warned_and_then_handed_over(gateway) -> None:
    async with gateway() as running, running.http() as http, running.connect() as player:
        first = await player.open()
        drain = running.server.app.state.drain
        draining = asyncio.create_task(drain.run())
        assert (await player.receive_a(protocol.Notice)).kind == "draining"
        assert (await http.get("/health/ready")).status_code == 503
        async with running.connect() as late:
            assert (await late.receive()).code is ErrorCode.SHUTTING_DOWN
            assert await late.close_code() == protocol.CLOSE_GOING_AWAY
        error = await player.receive()
        assert (error.code, error.is_retryable) == (ErrorCode.SHUTTING_DOWN, True)
        assert await player.close_code() == protocol.CLOSE_GOING_AWAY
        await draining
        assert len(running.parts.directory) == 0
        # Another replica with the same secret goes on with it.
        async with gateway() as other:
            other.engine._store.update(running.engine._store)
            other.engine._parked.update(running.engine._parked)
            async with other.connect() as again:
                ready = await again.resume(first.resume_token, 0)
                assert ready.session_id == first.session_id


async def test_a_session_may_finish_meanwhile(gateway, config) -> None:
    patient = config.model_copy(update={"drain_seconds": 20.0})
    async with gateway(patient) as running, running.connect() as player:
        await player.open()
        draining = asyncio.create_task(running.server.app.state.drain.run())
        await player.receive_a(protocol.Notice)
        await player.act(0, 4)
        await player.until_frame(4)
        await player.send(protocol.Close())
        assert (await player.receive_a(protocol.Ended)).reason == "stopped"
        await draining


async def test_those_who_wait_are_sent_elsewhere_at_once(gateway, config, engine_config) -> None:
    one_slot = engine_config.model_copy(update={"num_slots": 0})
    patient = config.model_copy(update={"drain_seconds": 20.0})
    async with gateway(patient, one_slot) as running, running.connect() as waiting:
        await waiting.send(protocol.Open())
        assert (await waiting.receive()).position == 1
        await running.server.app.state.drain.run()
        assert (await waiting.receive()).code is ErrorCode.SHUTTING_DOWN
