"""The gRPC pass-through, used by an unmodified tritonclient."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tritonclient.grpc.aio as triton_client
from fake_triton import FakeTriton
from tritonclient.utils import InferenceServerException

from services import contract
from services.contract import ErrorCode
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine
from services.gateway.triton_link import TritonLink

pytestmark = pytest.mark.anyio
PAGE = (Path(__file__).parents[3] / "docs" / "grpc.md").read_text()


@pytest.fixture
async def triton(engine_config):
    server = FakeTriton(FakeEngine(engine_config))
    await server.start()
    yield server
    await server.die()


@pytest.fixture
def proxied(gateway, config, triton):
    backends = (BackendConfig(address=triton.address),)
    changes = {"backends": backends, "grpc_port": 0}

    @asynccontextmanager
    async def run(**more):
        changed = config.model_copy(update=changes | more)
        async with gateway(changed, link=TritonLink) as running:
            port = running.server.app.state.grpc.port
            client = triton_client.InferenceServerClient(f"127.0.0.1:{port}")
            try:
                yield running, client
            finally:
                await client.close()

    return run


def infer_input(name: str, array: np.ndarray, datatype: str) -> triton_client.InferInput:
    tensor = triton_client.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


class Stream:
    """What a third party writes: messages in, events out."""

    def __init__(self, client, token: str | None = None) -> None:
        self._requests: asyncio.Queue = asyncio.Queue()
        self._is_over = asyncio.Event()
        headers = None if token is None else {"authorization": f"Bearer {token}"}
        self._answers = client.stream_infer(self._all(), headers=headers)

    async def _all(self):
        try:
            while (request := await self._requests.get()) is not None:
                yield request
        finally:
            self._is_over.set()

    def send(self, message, **tensors) -> None:
        text = np.array([contract.to_json(message)], dtype=np.object_)
        inputs = [infer_input(contract.MESSAGE, text, "BYTES")]
        inputs += [infer_input(name, array, "FP32") for name, array in tensors.items()]
        self._requests.put_nowait(
            {"model_name": contract.MODEL_NAME, "inputs": inputs, "request_id": message.type}
        )

    async def receive(self):
        async with asyncio.timeout(20):
            result, error = await anext(self._answers)
        assert error is None
        return contract.parse_event(result.as_numpy(contract.EVENT)[0]), result

    async def receive_a(self, kind):
        while True:
            event, result = await self.receive()
            if isinstance(event, kind):
                return event, result

    async def close(self) -> None:
        """Leave no generator behind that outlives its loop."""
        self._requests.put_nowait(None)
        async with asyncio.timeout(20):
            await self._is_over.wait()
        self._answers.cancel()


async def test_questions_about_server_and_model_are_answered(proxied) -> None:
    async with proxied() as (_, client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("world")
        assert not await client.is_model_ready("other")
        assert (await client.get_server_metadata()).name == "worldloom-gateway"
        assert (await client.get_model_metadata("world")).name == "world"
        assert await client.get_model_config("world")


async def test_an_unmodified_client_plays_a_session(proxied, triton) -> None:
    async with proxied() as (running, client):
        stream = Stream(client)
        stream.send(contract.Describe())
        assert isinstance((await stream.receive())[0], contract.Description)
        stream.send(contract.SessionStart(session_id="mine"))
        ready, first = await stream.receive()
        assert isinstance(ready, contract.SessionReady)
        assert first.as_numpy(contract.FRAMES)[0].startswith(b"\xff\xd8")
        assert len(running.parts.directory) == 1
        keyboard, mouse = np.ones((4, 6), np.float32), np.zeros((4, 2), np.float32)
        actions = contract.ActionsMessage(session_id="mine", action_index=0)
        stream.send(actions, keyboard=keyboard, mouse=mouse)
        _, result = await stream.receive_a(contract.FramesEvent)
        assert result.as_numpy(contract.FRAME_INDEX).tolist() == [1, 2, 3, 4]
        await stream.close()
        await running.until(lambda: triton.engine.num_sessions == 0)
        await running.until(lambda: len(running.parts.directory) == 0)


async def test_one_stream_is_one_session_that_was_let_in(proxied) -> None:
    async with proxied(auth="keys") as (_, client):
        stream = Stream(client, token="forged")
        stream.send(contract.SessionStart(session_id="mine"))
        assert (await stream.receive())[0].code is ErrorCode.BAD_TOKEN
        stream.send(contract.SessionStop(session_id="another's"))
        assert (await stream.receive())[0].code is ErrorCode.UNKNOWN_SESSION
        await stream.close()


async def test_a_session_that_was_refused_is_counted_nowhere(proxied, triton) -> None:
    triton.engine.config = triton.engine.config.model_copy(update={"num_slots": 0})
    async with proxied(max_queued_sessions=0) as (running, client):
        stream = Stream(client)
        for session_id in ("one", "two"):
            stream.send(contract.SessionStart(session_id=session_id))
            assert (await stream.receive())[0].code is ErrorCode.QUEUE_FULL
        assert running.parts.quota.num_sessions("anonymous") == 0
        assert len(running.parts.directory) == 0
        await stream.close()


async def test_an_id_that_is_in_use_is_not_taken_from_its_session(proxied) -> None:
    async with proxied() as (running, client):
        stream, other = Stream(client), Stream(client)
        stream.send(contract.SessionStart(session_id="mine"))
        await stream.receive_a(contract.SessionReady)
        other.send(contract.SessionStart(session_id="mine"))
        error, _ = await other.receive_a(contract.ErrorEvent)
        assert error.code is ErrorCode.SESSION_EXISTS
        await other.close()
        await stream.close()
        await running.until(lambda: len(running.parts.directory) == 0)
        assert running.parts.quota.num_sessions("anonymous") == 0


async def test_a_second_session_on_a_stream_is_refused(proxied) -> None:
    async with proxied() as (_, client):
        stream = Stream(client)
        stream.send(contract.SessionStart(session_id="mine"))
        await stream.receive_a(contract.SessionReady)
        stream.send(contract.SessionStart(session_id="more"))
        error, _ = await stream.receive_a(contract.ErrorEvent)
        assert error.code is ErrorCode.WRONG_STATE
        stream.send(contract.SessionStop(session_id="another's"))
        error, _ = await stream.receive_a(contract.ErrorEvent)
        assert error.code is ErrorCode.UNKNOWN_SESSION
        await stream.close()


async def test_a_call_without_a_stream_is_told_what_is_expected(proxied) -> None:
    async with proxied() as (_, client):
        text = infer_input(contract.MESSAGE, np.array([b"{}"], dtype=np.object_), "BYTES")
        with pytest.raises(InferenceServerException, match="ModelStreamInfer"):
            await client.infer("world", [text])


async def test_a_lost_engine_ends_the_stream_with_a_status(proxied, triton) -> None:
    async with proxied() as (_, client):
        stream = Stream(client)
        stream.send(contract.SessionStart(session_id="mine"))
        await stream.receive_a(contract.SessionReady)
        await triton.die()
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await stream.receive()
        await triton.revive()
        await stream.close()


def test_the_page_names_every_tensor_message_and_event() -> None:
    named = [spec.name for spec in (*contract.INPUTS, *contract.OUTPUTS)]
    for union in (contract.Message, contract.Event):
        named += [model.model_fields["type"].default for model in get_args(get_args(union)[0])]
    assert len(named) > 20
    for name in named:
        assert f"`{name}`" in PAGE, name


@pytest.mark.slow
async def test_the_pages_client_plays_a_session(proxied, tmp_path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "play.py"
    path.write_text(program)
    async with proxied() as (running, _):
        address = f"127.0.0.1:{running.server.app.state.grpc.port}"
        played = await asyncio.create_subprocess_exec(
            sys.executable, path, address, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await played.communicate()
    assert told.decode() == "24 frames, finished\n"
