"""The thin model that Triton runs: tensors in, engine, tensors out.

It reads its settings from the parameters of `config.pbtxt`, verifies the release's digest before
it loads anything, and is ready only after the engine has made its first segment. The module can
be imported inside Triton's Python backend alone.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from services import contract
from services.inference.drain import DRAIN_VARIABLE, DrainSign
from services.inference.engine import Engine, EngineConfig
from services.inference.generator import WorldRelease
from services.inference.repository import (
    DIGEST_PARAMETER,
    ENGINE_PARAMETER,
    RELEASE_PARAMETER,
    RELEASE_VARIABLE,
    STORE_PARAMETER,
    THREADS_PARAMETER,
    release_folder,
    verified_digest,
)
from services.inference.request import Request
from services.inference.response import Response
from services.inference.session_store import STORE_VARIABLE, open_session_store
from services.inference.triton_metrics import TritonMetrics
from worldloom.config import load_config
from worldloom.errors import ServingError
from worldloom.log import configure_logging, log_event

logger = logging.getLogger("services.inference.triton_model")


class ResponseSender:
    """A Triton response sender as the engine's sink.

    Triton crashes when a sender is asked anything after its request was completed, and the
    engine's threads ask independently of each other: every call holds the lock.
    """

    def __init__(self, sender: pb_utils.InferenceResponseSender) -> None:
        """Wrap the sender of one request."""
        self._sender = sender
        self._lock = threading.Lock()
        self._is_complete = False

    def send(self, response: Response, *, is_last: bool = False) -> None:
        """Send one response; nothing after the last one or `close`."""
        tensors = [_text_tensor(contract.EVENT, (contract.to_json(response.event),))]
        if response.frames:
            tensors += [
                _text_tensor(contract.FRAMES, response.frames),
                _index_tensor(contract.FRAME_INDEX, response.frame_index),
                _index_tensor(contract.ACTION_INDEX, response.action_index),
            ]
        with self._lock:
            if self._is_complete:
                return
            self._is_complete = is_last
            self._sender.send(
                pb_utils.InferenceResponse(output_tensors=tensors),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if is_last else 0,
            )

    def is_cancelled(self) -> bool:
        """Tell whether the client cancelled the request or closed its stream."""
        with self._lock:
            return self._is_complete or bool(self._sender.is_cancelled())

    def close(self) -> None:
        """Complete the request."""
        with self._lock:
            if not self._is_complete:
                self._is_complete = True
                self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonModel:
    """What Triton calls; a subclass may open another kind of release."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load and warm up; an exception here keeps the model from being ready."""
        configure_logging()
        try:
            self._initialize(args)
        except Exception as error:
            log_event(logger, "model_load_failed", logging.ERROR, message=str(error))
            raise

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> None:
        """Hand every request to the engine, which answers on the request's sender."""
        for request in requests:
            sender = ResponseSender(request.get_response_sender())
            # An exception here would reach the client with a stack trace.
            try:
                tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
                message = bytes(tensors.pop(contract.MESSAGE).reshape(-1)[0])
            except Exception:
                logger.exception("request_unreadable")
                sentence = "the request's tensors cannot be read"
                error = contract.SessionError(contract.ErrorCode.BAD_TENSOR, sentence)
                sender.send(Response(contract.ErrorEvent.of(error)), is_last=True)
                continue
            self._engine.submit(Request(message, tensors), sender)

    def finalize(self) -> None:
        """End every session."""
        self._engine.stop()
        log_event(logger, "model_stopped")

    def open_release(self, folder: Path, num_threads: int) -> WorldRelease:
        """Load a release."""
        import torch

        from services.inference.library_release import open_library_release

        torch.set_num_threads(num_threads)
        return open_library_release(folder, self._device)

    def _initialize(self, args: dict[str, str]) -> None:
        self._device = _device_of(args["model_instance_kind"], args["model_instance_device_id"])
        values = json.loads(args["model_config"])["parameters"]
        parameters = {name: value["string_value"] for name, value in values.items()}
        folder = release_folder(
            parameters[RELEASE_PARAMETER],
            os.environ.get(RELEASE_VARIABLE, ""),
            Path(args["model_repository"]),
        )
        digest = verified_digest(folder, parameters[DIGEST_PARAMETER])
        release = self.open_release(folder, int(parameters[THREADS_PARAMETER]))
        config = load_config(EngineConfig, parameters[ENGINE_PARAMETER], where="engine")
        address = parameters[STORE_PARAMETER] or os.environ.get(STORE_VARIABLE, "")
        drain = os.environ.get(DRAIN_VARIABLE, "")
        store = open_session_store(address) if address else None
        self._engine = Engine(
            release,
            config,
            release_digest=digest,
            store=store,
            metrics=TritonMetrics(),
            drain=DrainSign(Path(drain) if drain else None),
        )
        self._engine.start()
        log_event(logger, "model_ready", release=digest, session_store=address)


def _device_of(kind: str, index: str) -> str:
    """Return torch's name of what an instance runs on."""
    if kind == "GPU":
        return f"cuda:{index}"
    if kind != "CPU":
        message = f"instance kind {kind}: expected KIND_CPU or KIND_GPU"
        raise ServingError(message)
    return "cpu"


def _text_tensor(name: str, values: tuple[bytes, ...]) -> pb_utils.Tensor:
    return pb_utils.Tensor(name, np.array(values, dtype=np.object_))


def _index_tensor(name: str, values: tuple[int, ...]) -> pb_utils.Tensor:
    array: NDArray[np.int32] = np.array(values, dtype=np.int32)
    return pb_utils.Tensor(name, array)
