"""What the gateway reads in a client's gRPC requests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.grpc_messages import event_response, peek
from services.gateway.triton_link import infer_request, to_received

START = contract.SessionStart(session_id="mine", prompt="a forest")


REFUSALS = {None, ErrorCode.BAD_MESSAGE, ErrorCode.BAD_TENSOR}


def refusal_of(data: bytes) -> ErrorCode | None:
    try:
        peek(data)
    except SessionError as error:
        return error.code
    return None


def code_of(request: service_pb2.ModelInferRequest) -> ErrorCode:
    with pytest.raises(SessionError) as caught:
        peek(request.SerializeToString())
    return caught.value.code


def test_message_id_and_image_are_read() -> None:
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    request = infer_request(START, {contract.IMAGE: image})
    peeked = peek(request.SerializeToString())
    assert (peeked.request_id, peeked.message) == ("session_start", START)
    assert np.array_equal(peeked.image, image)


def test_a_message_may_come_as_contents() -> None:
    request = service_pb2.ModelInferRequest(model_name="world")
    tensor = request.inputs.add(name="message", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(contract.to_json(START))
    assert peek(request.SerializeToString()).message == START


def test_what_is_wrong_is_named() -> None:
    other = infer_request(START, {})
    other.model_name = "another"
    assert code_of(other) is ErrorCode.BAD_MESSAGE
    empty = service_pb2.ModelInferRequest(model_name="world")
    assert code_of(empty) is ErrorCode.BAD_TENSOR
    bare = infer_request(START, {})
    del bare.raw_input_contents[:]
    assert code_of(bare) is ErrorCode.BAD_TENSOR
    for shape in ([2, 4], [2, 4, 4], [-1, -24, 3], [2**33, 2**33, 3], [0, 4, 3]):
        small = infer_request(START, {contract.IMAGE: np.zeros((2, 4, 3), np.uint8)})
        small.inputs[1].shape[:] = shape
        assert code_of(small) is ErrorCode.BAD_TENSOR, shape


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert refusal_of(data) in REFUSALS


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_broken_request_is_read_or_refused(data: st.DataObject) -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    whole = infer_request(START, {contract.IMAGE: image}).SerializeToString()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(broken[: data.draw(st.integers(0, len(whole)))])
    assert refusal_of(cut) in REFUSALS


def test_an_event_is_written_as_triton_would() -> None:
    error = contract.ErrorEvent.of(SessionError(ErrorCode.NO_BACKEND, "nobody"), "mine")
    response = service_pb2.ModelStreamInferResponse.FromString(event_response(error, "actions"))
    received = to_received(response.infer_response)
    assert (received.event, received.answers) == (error, "actions")
