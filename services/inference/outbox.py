"""The way out: frames are encoded and events sent in order, on a thread beside the device's.

What waits here is bounded by the credits of the sessions. It does not know what a session is.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass

from services.contract import Event
from services.inference.codec import encode_frames
from services.inference.generator import Frames
from services.inference.response import Response, ResponseSink

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """An event, the raw frames that go with it and where they go."""

    sink: ResponseSink
    event: Event
    frames: Frames | None = None
    first_frame_index: int = 0
    is_last: bool = False


class Outbox:
    """A queue of deliveries with the thread that empties it."""

    def __init__(self, jpeg_quality: int) -> None:
        """Prepare the queue; nothing is sent before `start` or `deliver_pending`."""
        self._jpeg_quality = jpeg_quality
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
                self._deliver(delivery)

    def _run(self) -> None:
        while (delivery := self._queue.get()) is not None:
            self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> None:
        # One client's broken stream must not end the thread that serves the others.
        try:
            delivery.sink.send(self._response(delivery))
            if delivery.is_last:
                delivery.sink.close()
        except Exception:
            logger.exception("delivery_failed")

    def _response(self, delivery: Delivery) -> Response:
        if delivery.frames is None:
            return Response(delivery.event)
        first = delivery.first_frame_index
        indices = tuple(range(first, first + len(delivery.frames)))
        return Response(
            delivery.event,
            encode_frames(delivery.frames, self._jpeg_quality),
            indices,
            tuple(index - 1 for index in indices),
        )
