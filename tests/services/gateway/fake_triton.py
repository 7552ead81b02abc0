"""A gRPC server that speaks as Triton does, in front of the engine that draws patterns.

Only what tests of the gateway's two gRPC sides need: one stream a session, answers that carry their
request's id, a cancelled stream that parks its session.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services import contract
from services.contract import SessionError
from services.gateway.fake_engine import FakeEngine

_LENGTH = struct.Struct("<I")
_NUMPY = {"UINT8": np.uint8, "FP32": np.float32, "INT32": np.int32}


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server at a port of its own; `die` and `revive` are those of a killed process."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self._server = None
        self.port = 0
        self.num_streams = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def die(self) -> None:
        self.engine.die()
        await self._server.stop(0)

    async def revive(self) -> None:
        self.engine.revive()
        await self.start()

    async def ModelMetadata(self, request, context):  # noqa: N802
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])

    async def ModelConfig(self, request, context):  # noqa: N802
        return service_pb2.ModelConfigResponse()

    async def ModelStreamInfer(self, request_iterator, context):  # noqa: N802
        self.num_streams += 1
        stream, pumping = None, None
        try:
            async for request in request_iterator:
                message, tensors = _read(request)
                if isinstance(message, contract.Describe):
                    description = await self.engine.describe(5.0, with_images=message.with_images)
                    await context.write(_write(description, message.type))
                elif stream is None:
                    stream = await self.engine.open(message, tensors)
                    pumping = asyncio.create_task(self._pump(stream, context))
                else:
                    await stream.send(message, tensors)
            if pumping is not None:
                await pumping
        except SessionError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.message)
        finally:
            self.num_streams -= 1
            if pumping is not None:
                pumping.cancel()
            if stream is not None:
                stream.close()

    async def _pump(self, stream, context) -> None:
        with contextlib.suppress(SessionError):
            while True:
                received = await stream.receive()
                await context.write(
                    _write(
                        received.event, received.answers, received.frames,
                        received.frame_index, received.action_index,
                    )
                )  # fmt: skip
                if isinstance(received.event, contract.SessionEnd):
                    return


def _read(request):
    tensors = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.name == contract.MESSAGE:
            message = contract.parse_message(raw[_LENGTH.size :])
        else:
            array = np.frombuffer(raw, _NUMPY[tensor.datatype])
            tensors[tensor.name] = array.reshape(tuple(tensor.shape))
    return message, tensors


def _write(event, request_id, frames=(), frame_index=(), action_index=()):
    response = service_pb2.ModelStreamInferResponse()
    inner = response.infer_response
    inner.model_name, inner.model_version, inner.id = contract.MODEL_NAME, "1", request_id
    _add(inner, contract.EVENT, "BYTES", 1, _strings([contract.to_json(event)]))
    if frames:
        _add(inner, contract.FRAMES, "BYTES", len(frames), _strings(frames))
        for name, values in [
            (contract.FRAME_INDEX, frame_index),
            (contract.ACTION_INDEX, action_index),
        ]:
            _add(inner, name, "INT32", len(values), np.array(values, np.int32).tobytes())
    return response


def _add(inner, name, datatype, length, raw) -> None:
    inner.outputs.add(name=name, datatype=datatype, shape=[length])
    inner.raw_output_contents.append(raw)


def _strings(values) -> bytes:
    return b"".join(_LENGTH.pack(len(value)) + value for value in values)
