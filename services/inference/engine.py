"""The engine: sessions in slots, one thread for the device, one that encodes and sends.

Messages are taken in and answered on the caller's thread (`Reception`); the device's thread does
the work, the most urgent first (`Device`); segments are encoded and sent by a third (`Outbox`)
while the device makes the next. A session gets no segment while two of its segments are
unacknowledged, so that a slow reader costs neither memory nor device time. A resumable session
whose stream breaks is parked, any other that is cancelled or silent loses its slot. It imports
nothing of Triton.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.census import Census
from services.inference.codec import Codec, encodings_for
from services.inference.device import Device
from services.inference.drain import DrainSign
from services.inference.durability import Durability
from services.inference.engine_config import EngineConfig
from services.inference.generator import WorldRelease
from services.inference.keeper import Keeper
from services.inference.metrics import EngineMetrics, MetricFactory, RecordedMetrics
from services.inference.outbox import Delivery, Outbox
from services.inference.reaper import Reaper
from services.inference.reception import Reception
from services.inference.request import Request
from services.inference.response import ResponseSink
from services.inference.retrieval import Retrieval
from services.inference.session_store import SessionStore
from services.inference.sessions import Sessions
from worldloom.actions import Actions
from worldloom.errors import ServingError
from worldloom.log import log_event

__all__ = ["Engine", "EngineConfig"]

logger = logging.getLogger(__name__)


class Engine:
    """Serves the sessions of one release on one device."""

    def __init__(
        self,
        release: WorldRelease,
        config: EngineConfig,
        *,
        release_digest: str = "",
        store: SessionStore | None = None,
        metrics: MetricFactory | None = None,
        drain: DrainSign | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a loaded release; nothing runs before `start`.

        Args:
            release: what makes the frames.
            config: limits.
            release_digest: told to clients, and kept with what is stored.
            metrics: makes the engine's metrics; without one they stay in memory.
            drain: tells when the engine is to come to its end; without one only `stop` does.
            store: where resumable sessions are kept; without one they live in memory alone.
            clock: seconds that only grow.
        """
        if not release.worlds:
            message = "the release has no world to start in, expected at least one"
            raise ServingError(message)
        self._release = release
        self._config = config
        self._clock = clock
        measured = EngineMetrics(metrics or RecordedMetrics())
        self._codec = Codec(config)
        self._outbox = Outbox(self._codec, clock=clock)
        self._keeper = Keeper(
            store,
            max_stored_seconds=config.max_stored_seconds,
            on_failure=lambda: measured.store_failures.add(1),
        )
        self._sessions = Sessions(
            config, self._outbox, metrics=measured, clock=clock, forget=self._keeper.forget
        )
        retrieval = Retrieval(
            self._sessions,
            self._keeper,
            self._outbox,
            release_digest=release_digest,
            frames_per_segment=release.frames_per_segment,
            clock=clock,
        )
        self._reception = Reception(
            release, config, self._sessions, retrieval, release_digest=release_digest, clock=clock
        )
        durability = Durability(config, self._sessions, self._keeper, self._outbox, clock=clock)
        reaper = Reaper(config, self._sessions, durability, drain=drain or DrainSign(), clock=clock)
        self._device = Device(
            release,
            config,
            self._sessions,
            self._outbox,
            durability,
            reaper,
            metrics=measured,
            clock=clock,
        )
        self._census = Census(config, self._sessions, measured, clock=clock)
        self._worker = threading.Thread(target=self._work, name="worldloom-device", daemon=True)

    @property
    def num_sessions(self) -> int:
        """Slots in use."""
        return self._sessions.num_slots_used

    @property
    def num_parked(self) -> int:
        """Sessions that wait in host memory."""
        return self._sessions.num_waiting

    def start(self) -> None:
        """Make one segment, so that no player pays for the first, then begin to serve."""
        self.warm_up()
        self._outbox.start()
        self._keeper.start()
        self._worker.start()

    def warm_up(self) -> None:
        """Make and encode one segment of the first world and throw it away."""
        started = self._clock()
        world = self._release.worlds[0]
        generator = self._release.open_session(
            image=world.image, prompt=world.prompt, seed=0, pitch_radians=world.pitch_radians
        )
        frames = generator.generate_segment(Actions.still(self._release.frames_per_segment))
        generator.close()
        for encoding in encodings_for(self._release.height, self._release.width):
            self._codec.encode(frames, encoding)
        log_event(logger, "warmed_up", seconds=round(self._clock() - started, 3))

    def stop(self) -> None:
        """End every session, those that can be resumed once they are stored; stop the threads."""
        with self._sessions.changed:
            self._sessions.is_stopping = True
            self._sessions.changed.notify_all()
        if self._worker.is_alive():
            self._worker.join()
        self._device.save_all()
        self._keeper.stop()
        with self._sessions.changed:
            for session in self._sessions.live:
                self._sessions.end(session, "shutdown")
        self._device.close_retired()
        self._outbox.stop()

    def submit(self, request: Request, sink: ResponseSink) -> None:
        """Take in one request; answers at once, or keeps the sink for the session it opens."""
        # Whatever a client sends, it gets a sentence and the others get on.
        try:
            event = self._answer(request, sink)
        except Exception:
            logger.exception("request_failed")
            sentence = "the server failed to take the request in; its log says why"
            event = contract.ErrorEvent.of(SessionError(ErrorCode.INTERNAL, sentence))
        if event is not None:
            self._outbox.deliver(Delivery(sink, event, is_last=True))

    def step(self) -> bool:
        """Do one piece of work on the device, the most urgent; False when there is none."""
        has_worked = self._device.step()
        self._census.take()
        return has_worked

    def deliver_pending(self) -> None:
        """Store and send what waits, as the threads do that `start` starts."""
        self._keeper.work_pending()
        self._outbox.deliver_pending()

    def _answer(self, request: Request, sink: ResponseSink) -> contract.Event | None:
        session_id = ""
        try:
            message = contract.parse_message(request.text())
            if not isinstance(message, contract.Describe):
                session_id = message.session_id
            with self._sessions.changed:
                event = self._reception.take_in(message, request, sink)
                self._sessions.changed.notify_all()
        except SessionError as error:
            log_event(logger, "request_refused", code=error.code, session_id=session_id)
            return contract.ErrorEvent.of(error, session_id)
        return event

    def _work(self) -> None:
        sessions = self._sessions
        while not sessions.is_stopping:
            # A fault in one step must not end the thread that serves everybody.
            try:
                if self.step():
                    continue
            except Exception:
                logger.exception("step_failed")
            with sessions.changed:
                if self._device.most_urgent() is None and not sessions.is_stopping:
                    is_empty = not sessions.live and not len(sessions.parking)
                    sessions.changed.wait(None if is_empty else self._config.watch_seconds)
