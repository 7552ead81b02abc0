"""A session on an inference server: open it, send actions, iterate over the frames.

    with open_session("127.0.0.1:8001", SessionOptions(world="map01", seed=7)) as session:
        session.send_actions(keyboard, mouse)
        session.finish()
        for frame in session.frames():
            ...

Frames are acknowledged as the caller takes them, so a slow caller slows its own session only. It
does not decode frames.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import contract
from ...contract import ErrorCode, SessionError
from .stream import EventStream, Received

DEFAULT_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class SessionOptions:
    """How a session starts.

    Attributes:
        world: a world of the release; the first when neither this nor an image is given.
        image: a start image [H, W, 3] of one's own, RGB, in the size of the release.
        prompt: what the world looks like, in words; the world's own when absent.
        seed: seed of the session's noise.
        enable_memory: whether earlier frames of the same place are looked up.
        timeout_seconds: the longest silence of the server that is put up with.
    """

    world: str | None = None
    image: NDArray[np.uint8] | None = None
    prompt: str | None = None
    seed: int = 0
    enable_memory: bool = True
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS


DEFAULT_OPTIONS = SessionOptions()


@dataclass(frozen=True)
class Frame:
    """One encoded frame."""

    frame_index: int
    action_index: int
    segment_index: int
    jpeg: bytes
    received_at: float


class Session:
    """One open session on a stream of its own."""

    def __init__(self, stream: EventStream, ready: contract.SessionReady, start: bytes) -> None:
        """Take over a stream on which `session_ready` has arrived."""
        self.ready = ready
        self.start_image_jpeg = start
        self.end: contract.SessionEnd | None = None
        self.num_actions_sent = 0
        self.num_actions_received = 0
        self._stream = stream

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.ready.session_id

    def send_actions(self, keyboard: ArrayLike, mouse: ArrayLike) -> int:
        """Send actions [F, 6] and [F, 2] and return the index of the first; does not wait."""
        arrays = {
            contract.KEYBOARD: np.ascontiguousarray(keyboard, np.float32),
            contract.MOUSE: np.ascontiguousarray(mouse, np.float32),
        }
        action_index = self.num_actions_sent
        message = contract.ActionsMessage(session_id=self.session_id, action_index=action_index)
        self._stream.send(message, arrays)
        self.num_actions_sent += len(arrays[contract.KEYBOARD])
        return action_index

    def finish(self) -> None:
        """Ask for the frames of all actions sent so far and for the end after them."""
        self._stream.send(contract.SessionStop(session_id=self.session_id, finish_queue=True))

    def frames(self) -> Iterator[Frame]:
        """Yield frames in order until the session ends.

        Raises:
            SessionError: when the server refuses a request, ends the session by itself, says
                nothing for too long or dies.
        """
        while self.end is None:
            received = self._stream.receive()
            event = received.event
            if isinstance(event, contract.FramesEvent):
                yield from _frames(event, received)
                acknowledgement = contract.FramesReceived(
                    session_id=self.session_id, segment_index=event.segment_index
                )
                self._stream.send(acknowledgement)
            elif isinstance(event, contract.ErrorEvent):
                raise SessionError(event.code, event.message)
            elif isinstance(event, contract.ActionsReceived):
                self.num_actions_received += event.num_actions
            elif isinstance(event, contract.SessionEnd):
                self._ended(event)

    def close(self) -> None:
        """Stop the session if it has not ended, then close the stream."""
        self._stream.close(cancel=self.end is None and not self._stop())

    def __enter__(self) -> Session:
        """Use the session in a with block."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the stream."""
        self.close()

    def _stop(self) -> bool:
        try:
            self._stream.send(contract.SessionStop(session_id=self.session_id))
            while self.end is None:
                event = self._stream.receive(_STOP_TIMEOUT_SECONDS).event
                if isinstance(event, contract.SessionEnd):
                    self.end = event
        except SessionError:
            return False
        return True

    def _ended(self, event: contract.SessionEnd) -> None:
        self.end = event
        if event.reason not in {"finished", "stopped"}:
            sentence = f"the server ended session {self.session_id}: {event.reason}"
            raise SessionError(ErrorCode.SESSION_ENDED, sentence)


def open_session(address: str, options: SessionOptions = DEFAULT_OPTIONS) -> Session:
    """Open a session on the server at `host:port`; waits until it is ready.

    Raises:
        SessionError: when the server refuses it or does not answer.
    """
    start = contract.SessionStart(
        session_id=uuid.uuid4().hex,
        world=options.world,
        prompt=options.prompt,
        seed=options.seed,
        enable_memory=options.enable_memory,
    )
    tensors = {} if options.image is None else {contract.IMAGE: options.image}
    stream = EventStream(address, options.timeout_seconds)
    is_answered = False
    try:
        stream.send(start, tensors)
        received = stream.receive()
        is_answered = isinstance(received.event, contract.ErrorEvent)
        return Session(stream, _ready(received), received.frames[0])
    except BaseException:
        stream.close(cancel=not is_answered)
        raise


def describe(
    address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> contract.Description:
    """Return what a server serves and how full it is; raises `SessionError`."""
    stream = EventStream(address, timeout_seconds)
    is_answered = False
    try:
        stream.send(contract.Describe())
        event = stream.receive().event
        is_answered = True
    finally:
        stream.close(cancel=not is_answered)
    if not isinstance(event, contract.Description):
        sentence = f"{address} answered with {event.type}, expected description"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
    return event


def _ready(received: Received) -> contract.SessionReady:
    event = received.event
    if isinstance(event, contract.ErrorEvent):
        raise SessionError(event.code, event.message)
    if not isinstance(event, contract.SessionReady):
        sentence = f"the server answered with {event.type}, expected session_ready"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
    return event


def _frames(event: contract.FramesEvent, received: Received) -> Iterator[Frame]:
    now = time.monotonic()
    for jpeg, frame_index, action_index in zip(
        received.frames, received.frame_index, received.action_index, strict=True
    ):
        yield Frame(frame_index, action_index, event.segment_index, jpeg, now)
