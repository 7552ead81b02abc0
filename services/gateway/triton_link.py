"""A real engine: Triton's gRPC, one bidirectional stream a session, on asyncio.

The only module of the gateway that knows Triton's messages as a client. Frames are cut out of the
response as they are, never decoded. It does not know players.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator

import grpc
import grpc.aio
import numpy as np
from pydantic import BaseModel
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services import contract
from services.contract import Description, ErrorCode, SessionError, SessionResume, SessionStart
from services.gateway.link import NO_TENSORS, Received, Tensors

_LENGTH = struct.Struct("<I")
_DATA_TYPES = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32"}
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]


class TritonStream:
    """One session's stream to Triton."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        """Open the stream; whether somebody answers shows with the first event."""
        self._address = address
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._call = stub.ModelStreamInfer()

    async def send(self, message: BaseModel, tensors: Tensors = NO_TENSORS) -> None:
        """Send a message, waiting while Triton takes none."""
        try:
            await self._call.write(infer_request(message, tensors))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error

    async def receive(self) -> Received:
        """Return the next event."""
        while True:
            try:
                response = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise self._broken(error) from error
            except asyncio.CancelledError:
                # gRPC says the same of a call that `close` has cancelled and of a reader that is
                # cancelled itself, and only the second is to be obeyed.
                reader = asyncio.current_task()
                if reader is None or reader.cancelling():
                    raise
                raise self._broken(None) from None
            if response is grpc.aio.EOF:
                raise self._broken(None)
            if response.error_message:
                raise SessionError(ErrorCode.DISCONNECTED, self._said(response.error_message))
            if response.infer_response.outputs:
                return to_received(response.infer_response)

    def close(self) -> None:
        """Cancel the stream: the engine sees it, and parks or ends the session."""
        self._call.cancel()

    def _broken(self, error: BaseException | None) -> SessionError:
        details = error.details() if isinstance(error, grpc.aio.AioRpcError) else "stream ended"
        return SessionError(ErrorCode.DISCONNECTED, self._said(str(details)))

    def _said(self, what: str) -> str:
        return f"the engine at {self._address} does not answer or has died ({what[:200]})"


class TritonLink:
    """One Triton; all sessions share a channel."""

    def __init__(self, address: str) -> None:
        """Know Triton by `host:port`; the channel connects when it is used."""
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, _OPTIONS)

    async def describe(self, timeout_seconds: float, *, with_images: bool = False) -> Description:
        """Return what the engine serves."""
        stream = TritonStream(self._address, self._channel)
        try:
            async with asyncio.timeout(timeout_seconds):
                await stream.send(contract.Describe(with_images=with_images))
                received = await stream.receive()
        except TimeoutError as error:
            sentence = f"the engine at {self._address} said nothing for {timeout_seconds:g} s"
            raise SessionError(ErrorCode.TIMEOUT, sentence) from error
        finally:
            stream.close()
        event = received.event
        if not isinstance(event, Description):
            sentence = f"{self._address} answered with {event.type}, expected description"
            raise SessionError(ErrorCode.DISCONNECTED, sentence)
        return event

    async def open(
        self, message: SessionStart | SessionResume, tensors: Tensors = NO_TENSORS
    ) -> TritonStream:
        """Open a stream with its first message."""
        stream = TritonStream(self._address, self._channel)
        try:
            await stream.send(message, tensors)
        except BaseException:
            stream.close()
            raise
        return stream

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def infer_request(message: BaseModel, tensors: Tensors) -> service_pb2.ModelInferRequest:
    """Return a message as KServe's request; its id is the message's type, which answers carry."""
    text = contract.to_json(message)
    request = service_pb2.ModelInferRequest(
        model_name=contract.MODEL_NAME, id=str(getattr(message, "type", ""))
    )
    request.inputs.add(name=contract.MESSAGE, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(_LENGTH.pack(len(text)) + text)
    for name, array in tensors.items():
        data_type = _DATA_TYPES[array.dtype.name]
        request.inputs.add(name=name, datatype=data_type, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def to_received(response: service_pb2.ModelInferResponse) -> Received:
    """Return the event and the frames of KServe's response."""
    raw = {
        output.name: content
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    (text,) = split_strings(raw[contract.EVENT])
    event = contract.parse_event(text)
    if contract.FRAMES not in raw:
        return Received(event, response.id)
    return Received(
        event,
        response.id,
        tuple(split_strings(raw[contract.FRAMES])),
        np.frombuffer(raw[contract.FRAME_INDEX], np.int32).tolist(),
        np.frombuffer(raw[contract.ACTION_INDEX], np.int32).tolist(),
    )


def split_strings(raw: bytes) -> Iterator[bytes]:
    """Yield the strings of a BYTES tensor, each behind its length."""
    position = 0
    while position < len(raw):
        (length,) = _LENGTH.unpack_from(raw, position)
        position += _LENGTH.size
        yield raw[position : position + length]
        position += length
