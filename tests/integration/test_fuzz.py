"""20,000 malformed messages and requests: no crash, no hang, no inside shown, nobody disturbed."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Callable, Iterator
from itertools import islice

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from numpy.typing import NDArray
from tritonclient.grpc import InferResult
from tritonclient.utils import np_to_triton_dtype

from services import contract
from services.client.grpc import SessionOptions, open_session
from services.gateway.settings import GatewayConfig
from services.inference.server import InferenceServer
from services.load import malformed
from services.load.fuzz import FuzzConfig, fuzz_gateway
from services.local.gateway_process import GatewayProcess
from services.processes import free_port

NUM_INFER_REQUESTS = 400


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = GatewayConfig(port=free_port(), auth="none")
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), settings, fake=()) as process:
        yield process.url
        assert process.is_alive(), process.log_path.read_text()[-2000:]


def test_a_gateway_stands_malformed_messages_and_requests(gateway: str) -> None:
    config = FuzzConfig(seed=int(os.environ.get("WORLDLOOM_FUZZ_SEED", "0")))
    result = asyncio.run(fuzz_gateway(gateway, config))
    assert result.faults == []
    assert result.num_messages >= config.num_messages
    assert result.num_requests == config.num_requests
    assert result.num_witness_frames > 100
    assert result.codes["bad_message"] > config.num_messages / 4
    assert {200, 404, 405} <= set(result.statuses)
    ready = httpx.get(f"{gateway}/health/ready").json()
    assert ready["num_queued_sessions"] == 0
    assert ready["is_ready"]


@pytest.fixture(scope="module")
def triton(
    tmp_path_factory: pytest.TempPathFactory, new_fake_server: Callable[..., InferenceServer]
) -> Iterator[InferenceServer]:
    with new_fake_server(tmp_path_factory.mktemp("triton"), num_slots=64) as running:
        yield running


def test_triton_answers_malformed_tensors_and_serves_on(triton: InferenceServer) -> None:
    answers: queue.SimpleQueue[tuple[InferResult | None, Exception | None]] = queue.SimpleQueue()
    codes: set[str] = set()
    still = np.zeros((24, contract.NUM_KEYS)), np.zeros((24, contract.NUM_MOUSE_AXES))
    with (
        open_session(triton.address, SessionOptions(seed=3)) as witness,
        tritonclient.grpc.InferenceServerClient(triton.address) as client,
    ):
        client.start_stream(lambda result, error: answers.put((result, error)))
        for inputs in islice(malformed.infer_inputs(0), NUM_INFER_REQUESTS):
            client.async_stream_infer(
                contract.MODEL_NAME, [as_input(*item) for item in inputs.items()]
            )
            result, error = answers.get(timeout=30)
            if result is None:
                assert "Traceback" not in str(error)  # Triton's own refusal
                continue
            event = contract.parse_event(result.as_numpy(contract.EVENT)[0])
            if isinstance(event, contract.ErrorEvent):
                codes.add(event.code)
                assert "Traceback" not in event.message
        client.stop_stream(cancel_requests=True)
        witness.send_actions(*still)
        witness.finish()
        assert [frame.frame_index for frame in witness.frames()] == list(range(1, 25))
    assert codes >= {"bad_message", "bad_tensor", "unknown_session"}


def as_input(name: str, array: NDArray[np.generic]) -> tritonclient.grpc.InferInput:
    tensor = tritonclient.grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
