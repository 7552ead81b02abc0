"""KServe's gRPC messages as far as the gateway looks into them: who speaks, what is asked.

It reads a request's message and its image and writes an error event; everything else passes as
bytes. It does not know streams.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from services import contract
from services.contract import ErrorCode, SessionError

_LENGTH = struct.Struct("<I")


class Peeked(NamedTuple):
    """What stands in a request.

    Attributes:
        request_id: that its answers carry.
        message: of the contract.
        image: start image [H, W, 3], where one came beside it.
    """

    request_id: str
    message: contract.Message
    image: NDArray[np.uint8] | None


def peek(data: bytes) -> Peeked:
    """Return what a ModelInferRequest asks for.

    Raises:
        SessionError: `bad_message` or `bad_tensor`.
    """
    try:
        request = service_pb2.ModelInferRequest.FromString(data)
    except DecodeError as error:
        sentence = f"{len(data)} bytes that are no ModelInferRequest"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence) from error
    if request.model_name != contract.MODEL_NAME:
        sentence = f"model {request.model_name!r}, expected {contract.MODEL_NAME!r}"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
    texts = [t for t in request.inputs if t.name == contract.MESSAGE]
    message = contract.parse_message(_bytes_of(request, contract.MESSAGE)) if texts else None
    if message is None:
        sentence = f"the request has no tensor {contract.MESSAGE!r}"
        raise SessionError(ErrorCode.BAD_TENSOR, sentence)
    return Peeked(request.id, message, _image_of(request))


def event_response(event: contract.Event, request_id: str) -> bytes:
    """Return a ModelStreamInferResponse with one event, the last of its request."""
    text = contract.to_json(event)
    response = service_pb2.ModelStreamInferResponse()
    inner = response.infer_response
    inner.model_name, inner.model_version, inner.id = contract.MODEL_NAME, "1", request_id
    inner.outputs.add(name=contract.EVENT, datatype="BYTES", shape=[1])
    inner.raw_output_contents.append(_LENGTH.pack(len(text)) + text)
    inner.parameters["triton_final_response"].bool_param = True
    return bytes(response.SerializeToString())


def _bytes_of(request: service_pb2.ModelInferRequest, name: str) -> bytes:
    """Return the one string of a BYTES tensor, sent raw or as contents."""
    for index, tensor in enumerate(request.inputs):
        if tensor.name != name:
            continue
        if tensor.contents.bytes_contents:
            return bytes(tensor.contents.bytes_contents[0])
        raw = _raw(request, index)
        if len(raw) < _LENGTH.size:
            break
        return raw[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(raw)[0]]
    sentence = f"tensor {name!r} is empty, expected one string"
    raise SessionError(ErrorCode.BAD_TENSOR, sentence)


def _image_of(request: service_pb2.ModelInferRequest) -> NDArray[np.uint8] | None:
    for index, tensor in enumerate(request.inputs):
        if tensor.name == contract.IMAGE:
            shape = tuple(tensor.shape)
            contract.require_shape(contract.IMAGE, shape, {2: 3}, rank=3)
            raw = _raw(request, index)
            if len(raw) != math.prod(shape):
                sentence = f"{contract.IMAGE} has {len(raw)} bytes for shape {list(shape)}"
                raise SessionError(ErrorCode.BAD_TENSOR, sentence)
            return np.frombuffer(raw, np.uint8).reshape(shape)
    return None


def _raw(request: service_pb2.ModelInferRequest, index: int) -> bytes:
    raw = request.raw_input_contents
    return bytes(raw[index]) if index < len(raw) else b""
