"""The way out: frames are encoded and events sent in order, on a thread beside the device's.

What waits here is bounded by the credits of the sessions. It does not know what a session is.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.contract import Encoding, Event, FramesEvent
from services.inference.codec import Codec
from services.inference.generator import Frames
from services.inference.response import Response, ResponseSink

logger = logging.getLogger(__name__)


def _nothing() -> None:
    """Do nothing after a delivery."""


@dataclass(frozen=True)
class Delivery:
    """An event, the raw frames that go with it and where they go.

    Attributes:
        after: called on the sender's thread once the sink has taken or refused it.
    """

    sink: ResponseSink
    event: Event
    frames: Frames | None = None
    first_frame_index: int = 0
    encoding: Encoding = "jpeg"
    is_last: bool = False
    after: Callable[[], None] = _nothing


class Outbox:
    """A queue of deliveries with the thread that empties it."""

    def __init__(self, codec: Codec, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the queue; nothing is sent before `start` or `deliver_pending`."""
        self._codec = codec
        self._clock = clock
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worldloom-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits and end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def post(self, delivery: Delivery) -> None:
        """Queue a delivery; never waits."""
        self._queue.put(delivery)

    def deliver_pending(self) -> None:
        """Send what waits, on the calling thread."""
        while not self._queue.empty():
            delivery = self._queue.get()
            if delivery is not None:
                self.deliver(delivery)

    def deliver(self, delivery: Delivery) -> None:
        """Send one delivery at once, on the calling thread."""
        # One client's broken stream must not end the thread that serves the others.
        try:
            delivery.sink.send(self._response(delivery), is_last=delivery.is_last)
        except Exception:
            logger.exception("delivery_failed")
            if delivery.is_last:
                _close(delivery.sink)
        try:
            delivery.after()
        except Exception:
            logger.exception("delivery_not_counted")

    def _run(self) -> None:
        while (delivery := self._queue.get()) is not None:
            self.deliver(delivery)

    def _response(self, delivery: Delivery) -> Response:
        if delivery.frames is None:
            return Response(delivery.event)
        started = self._clock()
        encoded = self._codec.encode(delivery.frames, delivery.encoding)
        event = delivery.event
        if isinstance(event, FramesEvent):
            event = event.model_copy(update={"encode_seconds": self._clock() - started})
        first = delivery.first_frame_index
        indices = tuple(range(first, first + len(delivery.frames)))
        return Response(event, encoded, indices, tuple(index - 1 for index in indices))


def _close(sink: ResponseSink) -> None:
    # Its last response could not be sent, and without a word the request would never end.
    try:
        sink.close()
    except Exception:
        logger.exception("sink_not_closed")
