"""KServe v2 over gRPC, for clients that speak to Triton: `tritonclient` works through it unchanged.

Streams are sessions and are let in like all others; questions about server and model are passed to
an engine as bytes. A call that serves no session here is refused with what is expected instead.
It does not know the contract's messages.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.auth import bearer_token
from services.gateway.discovery import join_address
from services.gateway.drain import Drain
from services.gateway.grpc_session import Call, Context, GrpcSession
from services.gateway.kserve import SERVER_NAME, SERVER_VERSION
from services.gateway.parts import Parts
from services.gateway.routes import readiness_of
from worldloom.errors import MachineError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

Channel = Any  # grpc.aio has no types
Unary = Callable[[bytes, Context], Awaitable[bytes]]

SERVICE = "inference.GRPCInferenceService"
_STREAM = f"/{SERVICE}/ModelStreamInfer"
_PASSED_ON = ("ModelMetadata", "ModelConfig")
_ASK_SECONDS = 5.0
_GRACE_SECONDS = 1.0
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]


class GrpcProxy:
    """A gRPC server that lets sessions in and passes their bytes on."""

    def __init__(self, parts: Parts, drain: Drain) -> None:
        """Serve a gateway's parts; nothing runs before `start`."""
        self._parts = parts
        self._drain = drain
        self._server: Any = None
        self._channels: dict[str, Channel] = {}
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; raises `MachineError` when the address cannot be had."""
        self._server = grpc.aio.server(options=_OPTIONS)
        handlers = {
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
            "ServerLive": grpc.unary_unary_rpc_method_handler(self._server_live),
            "ServerReady": grpc.unary_unary_rpc_method_handler(self._server_ready),
            "ServerMetadata": grpc.unary_unary_rpc_method_handler(self._server_metadata),
            "ModelReady": grpc.unary_unary_rpc_method_handler(self._model_ready),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._refuse_infer),
        } | {
            name: grpc.unary_unary_rpc_method_handler(self._passing_on(name)) for name in _PASSED_ON
        }
        handler = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server.add_generic_rpc_handlers((handler,))
        address = join_address(host, port)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            sentence = f"cannot listen on {address} for gRPC"
            raise MachineError(sentence) from error
        await self._server.start()
        log_event(logger, "grpc_started", address=join_address(host, self.port))

    async def stop(self) -> None:
        """End what is left and close the channels."""
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)
        for channel in self._channels.values():
            await channel.close()

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        if self._drain.is_begun:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway is draining")
        token = bearer_token(dict(context.invocation_metadata()).get("authorization"))
        session = GrpcSession(self._parts, self._open_call, context, token)
        try:
            await session.run(requests)
        except grpc.aio.AbortError:
            raise
        except Exception:
            request_id = uuid.uuid4().hex[:12]
            logger.exception("stream_failed %s, request %s", session.session_id, request_id)
            sentence = f"the gateway has a fault; its log has it as request {request_id}"
            await context.abort(grpc.StatusCode.INTERNAL, sentence)

    def _open_call(self, address: str) -> Call:
        return self._channel(address).stream_stream(_STREAM)()

    async def _server_live(self, _request: bytes, _context: Context) -> bytes:
        return bytes(service_pb2.ServerLiveResponse(live=True).SerializeToString())

    async def _server_ready(self, _request: bytes, _context: Context) -> bytes:
        ready = readiness_of(self._parts, self._drain).is_ready
        return bytes(service_pb2.ServerReadyResponse(ready=ready).SerializeToString())

    async def _server_metadata(self, _request: bytes, _context: Context) -> bytes:
        answer = service_pb2.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION)
        return bytes(answer.SerializeToString())

    async def _model_ready(self, request: bytes, context: Context) -> bytes:
        try:
            name = service_pb2.ModelReadyRequest.FromString(request).name
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no ModelReadyRequest")
        is_ready = readiness_of(self._parts, self._drain).is_ready
        answer = service_pb2.ModelReadyResponse(ready=is_ready and name == contract.MODEL_NAME)
        return bytes(answer.SerializeToString())

    async def _refuse_infer(self, _request: bytes, context: Context) -> bytes:
        sentence = "a session is a stream, expected ModelStreamInfer"
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)
        return b""

    def _passing_on(self, method: str) -> Unary:
        async def pass_on(request: bytes, context: Context) -> bytes:
            try:
                call = self._channel(self._any_address()).unary_unary(f"/{SERVICE}/{method}")
                answer: bytes = await call(request, timeout=_ASK_SECONDS)
            except SessionError as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, error.message)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
            return answer

        return pass_on

    def _any_address(self) -> str:
        for backend in self._parts.pool:
            if backend.is_up:
                return backend.address
        raise SessionError(ErrorCode.NO_BACKEND, "no engine answers")

    def _channel(self, address: str) -> Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = grpc.aio.insecure_channel(address, _OPTIONS)
            self._channels[address] = channel
        return channel
