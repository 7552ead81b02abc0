"""The gateway's link to Triton, against a server that speaks as Triton does."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_triton import FakeTriton

from services import contract, protocol
from services.contract import ErrorCode, SessionError
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine
from services.gateway.triton_link import TritonLink, infer_request, split_strings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def triton(engine_config):
    server = FakeTriton(FakeEngine(engine_config))
    await server.start()
    yield server
    await server.die()


def test_strings_are_cut_out_as_they_are() -> None:
    assert list(split_strings(b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc")) == [b"a", b"", b"bc"]


def test_a_request_carries_its_messages_type_as_its_id() -> None:
    message = contract.ActionsMessage(session_id="s", action_index=0)
    request = infer_request(message, {contract.KEYBOARD: np.zeros((2, 6), np.float32)})
    assert request.id == "actions"
    assert [(t.name, t.datatype, list(t.shape)) for t in request.inputs] == [
        ("message", "BYTES", [1]),
        ("keyboard", "FP32", [2, 6]),
    ]


async def test_an_engine_is_described(triton) -> None:
    link = TritonLink(triton.address)
    plain = await link.describe(5.0)
    pictured = await link.describe(5.0, with_images=True)
    await link.close()
    assert plain.worlds[0].image == ""
    assert pictured.worlds[0].image


async def test_nobody_there_is_told_at_once() -> None:
    link = TritonLink("127.0.0.1:1")
    with pytest.raises(SessionError) as caught:
        await link.describe(5.0)
    await link.close()
    assert caught.value.code is ErrorCode.DISCONNECTED
    assert "127.0.0.1:1" in caught.value.message


async def test_a_reader_that_is_cancelled_is_cancelled_and_a_stream_that_is_closed_is_broken(
    triton,
) -> None:
    link = TritonLink(triton.address)
    stream = await link.open(contract.SessionStart(session_id="s"))
    assert isinstance((await stream.receive()).event, contract.SessionReady)
    reading = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    other = await link.open(contract.SessionStart(session_id="t"))
    assert isinstance((await other.receive()).event, contract.SessionReady)
    reading = asyncio.create_task(other.receive())
    await asyncio.sleep(0)
    other.close()
    with pytest.raises(SessionError) as caught:
        await reading
    assert caught.value.code is ErrorCode.DISCONNECTED
    await link.close()


@pytest.fixture
def through_triton(gateway, config, triton):
    """A gateway whose engine is behind gRPC."""
    backends = (BackendConfig(address=triton.address),)
    return gateway(config.model_copy(update={"backends": backends}), link=TritonLink)


async def test_a_session_through_grpc_is_the_same(through_triton) -> None:
    async with through_triton as running, running.connect() as player:
        await player.open()
        await player.act(0, 12)
        await player.until_frame(12)
        await player.send(protocol.Pause())
        await player.receive_a(protocol.Paused)
        await player.send(protocol.Close())
        assert (await player.receive_a(protocol.Ended)).reason == "stopped"


async def test_a_client_that_goes_frees_its_slot(through_triton, triton) -> None:
    async with through_triton as running:
        async with running.connect() as player:
            await player.open()
            assert triton.engine.num_sessions == 1
        await running.until(lambda: triton.engine.num_sessions == 0)


async def test_a_killed_server_that_comes_back_loses_no_frame(through_triton, triton) -> None:
    async with through_triton as running, running.connect() as player:
        await player.open()
        await player.act(0, 6)
        await player.until_frame(4)
        await triton.die()
        assert (await player.receive_a(protocol.Notice)).kind == "backend_lost"
        await player.act(6, 6)
        await triton.revive()
        await player.until_frame(12)
        assert sorted(player.frames) == list(range(13))
