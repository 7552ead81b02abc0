"""The engine: sessions in slots, one worker for the device, one thread that encodes and sends.

The worker serves the session whose delivered frames run out first (earliest deadline first). A
session gets no segment while two of its segments are unacknowledged, so that a slow reader costs
neither memory nor device time; a cancelled or silent one loses its slot. Segments are encoded and
sent by a second thread while the device makes the next. It imports nothing of Triton.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pydantic import Field

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.codec import encode_frames
from services.inference.generator import Frames, StartWorld, WorldRelease
from services.inference.live_session import LiveSession, Response, ResponseSink
from services.inference.outbox import Delivery, Outbox
from services.inference.request import Request
from worldloom.actions import Actions
from worldloom.config import Config
from worldloom.errors import ServingError
from worldloom.log import log_event

logger = logging.getLogger(__name__)


class EngineConfig(Config):
    """Limits of one engine."""

    num_slots: int = Field(4, ge=1, description="sessions that may be open at once")
    max_unacknowledged_segments: int = Field(
        2, ge=1, description="segments sent ahead of the client's acknowledgement"
    )
    max_queued_actions: int = Field(4096, ge=1, description="actions that may wait, in frames")
    max_idle_seconds: float = Field(120.0, gt=0, description="silence that ends a session, seconds")
    max_session_seconds: float = Field(3600.0, gt=0, description="age that ends a session, seconds")
    watch_seconds: float = Field(
        0.25, gt=0, description="how often sessions without work are checked for cancellation"
    )
    playout_frames_per_second: float = Field(
        16.0, gt=0, description="pace at which players see frames; sets the deadlines"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="JPEG quality of the frames sent")


class Engine:
    """Serves the sessions of one release on one device."""

    def __init__(
        self,
        release: WorldRelease,
        config: EngineConfig,
        *,
        release_digest: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a loaded release; nothing runs before `start`."""
        if not release.worlds:
            message = "the release has no world to start in, expected at least one"
            raise ServingError(message)
        self._release = release
        self._config = config
        self._digest = release_digest
        self._clock = clock
        self._sessions: dict[str, LiveSession] = {}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._outbox = Outbox(config.jpeg_quality)
        self._worker = threading.Thread(target=self._work, name="worldloom-device", daemon=True)

    @property
    def num_sessions(self) -> int:
        """Slots in use."""
        return len(self._sessions)

    def start(self) -> None:
        """Make one segment, so that no player pays for the first, then begin to serve."""
        self.warm_up()
        self._outbox.start()
        self._worker.start()

    def warm_up(self) -> None:
        """Make and encode one segment of the first world and throw it away."""
        started = self._clock()
        world = self._release.worlds[0]
        generator = self._release.open_session(
            image=world.image, prompt=world.prompt, seed=0, pitch_radians=world.pitch_radians
        )
        frames = generator.generate_segment(Actions.still(self._release.frames_per_segment))
        encode_frames(frames, self._config.jpeg_quality)
        log_event(logger, "warmed_up", seconds=round(self._clock() - started, 3))

    def stop(self) -> None:
        """End every session, send what is under way and stop the threads."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._worker.is_alive():
            self._worker.join()
        with self._changed:
            for session in list(self._sessions.values()):
                self._end(session, "shutdown")
        self._outbox.stop()

    def submit(self, request: Request, sink: ResponseSink) -> None:
        """Take in one request; answers at once, or keeps the sink for the session it opens."""
        session_id = ""
        try:
            message = contract.parse_message(request.message)
            if not isinstance(message, contract.Describe):
                session_id = message.session_id
            with self._changed:
                event = self._handle(message, request, sink)
                self._changed.notify_all()
        except SessionError as error:
            log_event(logger, "request_refused", code=error.code, session_id=session_id)
            event = contract.ErrorEvent.of(error, session_id)
        if event is not None:
            sink.send(Response(event))
            sink.close()

    def step(self) -> bool:
        """Do one piece of work on the device, the most urgent; False when there is none."""
        self._reap()
        with self._changed:
            session = self._most_urgent()
            if session is None:
                return False
            session.is_busy = True
        try:
            self._advance(session)
        except Exception as error:
            logger.exception("session_failed")
            self._fail(session, error)
        return True

    def deliver_pending(self) -> None:
        """Send what waits on the calling thread; `start` gives that to a thread of its own."""
        self._outbox.deliver_pending()

    def _handle(
        self,
        message: contract.Message,
        request: Request,
        sink: ResponseSink,
    ) -> contract.Event | None:
        if isinstance(message, contract.Describe):
            return self._description()
        if isinstance(message, contract.SessionStart):
            self._open(message, request, sink)
            return None
        session = self._sessions.get(message.session_id)
        if session is None:
            if isinstance(message, contract.ActionsMessage):
                sentence = f"session {message.session_id} is not open here"
                raise SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
            # The last acknowledgement crosses the session's end on the wire.
            return contract.Acknowledged(session_id=message.session_id)
        session.last_heard = self._clock()
        if isinstance(message, contract.ActionsMessage):
            actions = request.actions()
            session.append(actions, message.action_index, self._config.max_queued_actions)
            return contract.ActionsReceived(
                session_id=session.session_id,
                action_index=message.action_index,
                num_actions=len(actions),
                num_queued_actions=session.num_queued,
            )
        if isinstance(message, contract.FramesReceived):
            session.acknowledge(message.segment_index)
        elif message.finish_queue:
            session.is_finishing = True
        else:
            self._end(session, "stopped")
        return contract.Acknowledged(session_id=session.session_id)

    def _open(
        self,
        message: contract.SessionStart,
        request: Request,
        sink: ResponseSink,
    ) -> None:
        if self._is_stopping:
            raise SessionError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        if message.session_id in self._sessions:
            sentence = f"session {message.session_id} is open already"
            raise SessionError(ErrorCode.SESSION_EXISTS, sentence)
        if len(self._sessions) >= self._config.num_slots:
            sentence = f"all {self._config.num_slots} slots are in use"
            raise SessionError(ErrorCode.NO_FREE_SLOT, sentence)
        world = self._world(message.world)
        image = request.start_image(self._release.height, self._release.width)
        now = self._clock()
        self._sessions[message.session_id] = LiveSession(
            start=message,
            prompt=world.prompt if message.prompt is None else message.prompt,
            world=world.name if image is None else "",
            image=world.image if image is None else image,
            pitch_radians=world.pitch_radians if image is None else 0.0,
            sink=sink,
            opened_at=now,
            last_heard=now,
            playout_end=now,
        )

    def _world(self, name: str | None) -> StartWorld:
        for world in self._release.worlds:
            if name is None or world.name == name:
                return world
        known = ", ".join(world.name for world in self._release.worlds)
        sentence = f"world {name!r} is not in the release; it has: {known}"
        raise SessionError(ErrorCode.UNKNOWN_WORLD, sentence)

    def _description(self) -> contract.Description:
        return contract.Description(
            release=self._digest,
            height=self._release.height,
            width=self._release.width,
            frames_per_segment=self._release.frames_per_segment,
            worlds=tuple(
                contract.WorldInfo(name=world.name, prompt=world.prompt)
                for world in self._release.worlds
            ),
            num_slots=self._config.num_slots,
            num_sessions=len(self._sessions),
        )

    def _is_open(self, session: LiveSession) -> bool:
        return self._sessions.get(session.session_id) is session

    def _most_urgent(self) -> LiveSession | None:
        credits = self._config.max_unacknowledged_segments
        ready = [
            session
            for session in self._sessions.values()
            if session.has_work(self._release.frames_per_segment, credits)
        ]
        return min(ready, key=lambda session: session.playout_end, default=None)

    def _advance(self, session: LiveSession) -> None:
        if session.generator is None:
            session.generator = self._release.open_session(
                image=session.image,
                prompt=session.prompt,
                seed=session.start.seed,
                memory=session.start.enable_memory,
                pitch_radians=session.pitch_radians,
            )
            with self._changed:
                session.is_busy = False
                if self._is_open(session):
                    self._post_ready(session)
            return
        with self._changed:
            actions, num_taken = session.take(self._release.frames_per_segment)
        started = self._clock()
        frames = session.generator.generate_segment(actions)[:num_taken]
        with self._changed:
            session.is_busy = False
            if self._is_open(session):
                self._post_segment(session, frames, self._clock() - started)

    def _post_ready(self, session: LiveSession) -> None:
        event = contract.SessionReady(
            session_id=session.session_id,
            release=self._digest,
            world=session.world,
            prompt=session.prompt,
            height=self._release.height,
            width=self._release.width,
            frames_per_segment=self._release.frames_per_segment,
            max_unacknowledged_segments=self._config.max_unacknowledged_segments,
        )
        self._outbox.post(Delivery(session.sink, event, session.image[None]))

    def _post_segment(self, session: LiveSession, frames: Frames, seconds: float) -> None:
        event = contract.FramesEvent(
            session_id=session.session_id,
            segment_index=session.num_segments,
            num_frames=len(frames),
            segment_seconds=seconds,
        )
        self._outbox.post(Delivery(session.sink, event, frames, session.num_frames + 1))
        session.num_segments += 1
        session.num_frames += len(frames)
        playout = len(frames) / self._config.playout_frames_per_second
        session.playout_end = max(session.playout_end, self._clock()) + playout

    def _fail(self, session: LiveSession, error: Exception) -> None:
        sentence = f"session {session.session_id} cannot go on: {error}"
        event = contract.ErrorEvent.of(
            SessionError(ErrorCode.GENERATION_FAILED, sentence), session.session_id
        )
        with self._changed:
            if self._is_open(session):
                self._outbox.post(Delivery(session.sink, event))
                self._end(session, "failed")

    def _reap(self) -> None:
        now = self._clock()
        with self._changed:
            sessions = list(self._sessions.values())
        reasons = [(session, self._end_reason(session, now)) for session in sessions]
        with self._changed:
            for session, reason in reasons:
                if reason is not None and self._is_open(session):
                    self._end(session, reason)

    def _end_reason(self, session: LiveSession, now: float) -> contract.EndReason | None:
        if session.sink.is_cancelled():
            return "cancelled"
        if session.is_finished():
            return "finished"
        if now - session.last_heard > self._config.max_idle_seconds:
            return "idle"
        if now - session.opened_at > self._config.max_session_seconds:
            return "too_long"
        return None

    def _end(self, session: LiveSession, reason: contract.EndReason) -> None:
        del self._sessions[session.session_id]
        event = contract.SessionEnd(
            session_id=session.session_id, reason=reason, num_frames=session.num_frames
        )
        self._outbox.post(Delivery(session.sink, event, is_last=True))
        log_event(
            logger,
            "session_ended",
            session_id=session.session_id,
            reason=reason,
            num_frames=session.num_frames,
        )

    def _work(self) -> None:
        while not self._is_stopping:
            if self.step():
                continue
            with self._changed:
                if self._most_urgent() is None and not self._is_stopping:
                    self._changed.wait(self._config.watch_seconds if self._sessions else None)
