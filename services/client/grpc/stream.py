"""One gRPC stream to an inference server: messages out, events in.

The only module of the client that knows tritonclient. It does not know what a session does.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from pydantic import BaseModel
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from ... import contract
from ...contract import ErrorCode, Event, SessionError

logger = logging.getLogger(__name__)

_KEEPALIVE = triton.KeepAliveOptions(keepalive_time_ms=30_000, keepalive_timeout_ms=10_000)


@dataclass(frozen=True)
class Received:
    """One event with the encoded frames that came beside it."""

    event: Event
    frames: Sequence[bytes] = ()
    frame_index: Sequence[int] = ()
    action_index: Sequence[int] = ()


class EventStream:
    """A stream that can be sent to from one thread and read from another."""

    def __init__(self, address: str, timeout_seconds: float) -> None:
        """Open the stream; whether somebody answers shows with the first event."""
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._failure: SessionError | None = None
        self._events: queue.SimpleQueue[Received | SessionError] = queue.SimpleQueue()
        self._client = triton.InferenceServerClient(address, keepalive_options=_KEEPALIVE)
        self._client.start_stream(self._on_response)

    def send(
        self, message: BaseModel, tensors: Mapping[str, NDArray[np.generic]] | None = None
    ) -> None:
        """Send a message; raises `SessionError` `disconnected` on a stream that has broken."""
        text = np.array([contract.to_json(message)], dtype=np.object_)
        arrays = {contract.MESSAGE: text, **(tensors or {})}
        try:
            self._client.async_stream_infer(
                contract.MODEL_NAME, [_input(name, array) for name, array in arrays.items()]
            )
        except InferenceServerException as error:
            raise self._failure or self._disconnected(error) from error

    def receive(self, timeout_seconds: float | None = None) -> Received:
        """Return the next event, in the order of arrival, within the stream's or this time.

        Raises:
            SessionError: `disconnected` or `timeout`.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            received = self._events.get(timeout=seconds)
        except queue.Empty as error:
            sentence = f"{self._address} sent nothing for {seconds:g} s"
            raise SessionError(ErrorCode.TIMEOUT, sentence) from error
        if isinstance(received, SessionError):
            # A broken stream stays broken for whoever asks next.
            self._events.put(received)
            raise received
        return received

    def close(self, *, cancel: bool) -> None:
        """Close the stream once its requests are answered, or cancel those that are open."""
        self._client.stop_stream(cancel_requests=cancel)
        self._client.close()

    def _on_response(
        self, result: triton.InferResult | None, error: InferenceServerException | None
    ) -> None:
        if error is not None or result is None:
            self._failure = self._disconnected(error)
            self._events.put(self._failure)
            return
        (event,) = result.as_numpy(contract.EVENT)
        frames = result.as_numpy(contract.FRAMES)
        if frames is None:
            self._events.put(Received(contract.parse_event(event)))
            return
        self._events.put(
            Received(
                contract.parse_event(event),
                [bytes(frame) for frame in frames],
                result.as_numpy(contract.FRAME_INDEX).tolist(),
                result.as_numpy(contract.ACTION_INDEX).tolist(),
            )
        )

    def _disconnected(self, error: InferenceServerException | None) -> SessionError:
        reason = "the stream ended" if error is None else error.message()
        sentence = (
            f"the inference server at {self._address} does not answer or has died"
            f" ({str(reason)[:200]})"
        )
        return SessionError(ErrorCode.DISCONNECTED, sentence)


def _input(name: str, array: NDArray[np.generic]) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
