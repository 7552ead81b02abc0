"""The work of the device's thread: open, resume, generate, take state; one step at a time.

Each step serves the session whose frames are due first (earliest deadline first). Only this
thread calls generators: a session is marked busy under the lock, worked on without it, and looked
at again under the lock, since its client may have left or begun anew meanwhile. It does not know
messages or threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.drain import DrainSign
from services.inference.durability import Durability
from services.inference.engine_config import EngineConfig
from services.inference.generator import Frames, SegmentGenerator, WorldRelease
from services.inference.live_session import Assignment, LiveSession
from services.inference.metrics import EngineMetrics
from services.inference.outbox import Delivery, Outbox
from services.inference.response import ResponseSink
from services.inference.sessions import Sessions
from worldloom.log import log_event

logger = logging.getLogger(__name__)


class Device:
    """Does the work of sessions."""

    def __init__(
        self,
        release: WorldRelease,
        config: EngineConfig,
        sessions: Sessions,
        outbox: Outbox,
        durability: Durability,
        *,
        drain: DrainSign,
        metrics: EngineMetrics,
        clock: Callable[[], float],
    ) -> None:
        """Work for these sessions."""
        self._release = release
        self._config = config
        self._sessions = sessions
        self._outbox = outbox
        self._durability = durability
        self._drain = drain
        self._metrics = metrics
        self._playout_seconds = release.frames_per_segment / config.playout_frames_per_second
        self._clock = clock

    def step(self) -> bool:
        """Do one piece of work, the most urgent; False when there is none."""
        self._reap()
        for due in self._durability.due():
            self._guarded(due, self._durability.save)
        with self._sessions.changed:
            session = self.most_urgent()
            if session is None:
                return False
            session.is_busy = True
        self._guarded(session, self._advance)
        return True

    def save_all(self) -> None:
        """Take the states of all sessions that another process can go on with."""
        for session in self._durability.due_at_the_end():
            self._guarded(session, self._durability.save)

    def most_urgent(self) -> LiveSession | None:
        """Return the session whose next frames are due first; the lock is held."""
        credits = self._config.max_unacknowledged_segments
        ready = [session for session in self._sessions.live if session.has_work(credits)]
        return min(ready, key=lambda session: session.deadline(self._playout_seconds), default=None)

    def close_retired(self) -> None:
        """Close the generators of sessions that are over."""
        with self._sessions.changed:
            retired = self._sessions.take_retired()
        for generator in retired:
            # What one session leaves behind must not end the thread that serves the others.
            try:
                generator.close()
            except Exception:
                logger.exception("generator_not_closed")

    def _guarded(self, session: LiveSession, work: Callable[[LiveSession], None]) -> None:
        try:
            work(session)
        except Exception as error:
            logger.exception("session_failed")
            self._fail(session, error)
        finally:
            with self._sessions.changed:
                session.is_busy = False

    def _advance(self, session: LiveSession) -> None:
        if session.resumption is not None:
            self._resume(session)
        elif session.generator is None:
            self._open(session)
        else:
            self._generate(session, session.generator)

    def _open(self, session: LiveSession) -> None:
        is_new = session.state is None
        generator = self._generator_for(session)
        with self._sessions.changed:
            self._give(session, generator)
        if not is_new:
            return
        if self._can_be_handed_over(session):  # a client that was told may count on it
            self._durability.save(session, then=lambda: self._announce(session))
        else:
            self._announce(session)

    def _announce(self, session: LiveSession) -> None:
        with self._sessions.changed:
            is_waiting = session.resumption is None and not session.is_announced
            if self._sessions.is_live(session) and is_waiting:
                self._post_ready(session, session.opened_at)
                self._sessions.changed.notify_all()

    def _resume(self, session: LiveSession) -> None:
        with self._sessions.changed:
            resumption = session.resumption
            assert resumption is not None, session.session_id
            generator, state = session.generator, session.state
        if resumption.last_frame_index < session.num_frames:
            state = state if generator is None else generator.snapshot()
            assert state is not None, "frames were made, so there is a state"
            num_known = resumption.last_frame_index // session.frames_per_segment
            with self._sessions.changed:
                self._sessions.retire(session)
                session.rewind(state, num_known, self._clock())
            generator = None
        generator = generator or self._generator_for(session)
        with self._sessions.changed:
            self._give(session, generator)
            if self._sessions.is_live(session) and session.resumption is resumption:
                session.resumption = None
                session.last_frame_index = resumption.last_frame_index
                session.num_acknowledged = session.num_segments
                session.playout_end = self._clock()
                self._post_ready(session, resumption.asked_at, is_resumed=True)

    def _generate(self, session: LiveSession, generator: SegmentGenerator) -> None:
        with self._sessions.changed:
            assignment = session.take(self._playout_seconds)
        started_at = self._clock()
        frames = generator.generate_segment(assignment.actions)[: assignment.num_sent]
        with self._sessions.changed:
            if self._sessions.is_live(session):
                self._post_segment(session, frames, assignment, started_at)

    def _generator_for(self, session: LiveSession) -> SegmentGenerator:
        record = session.record
        if session.state is not None:
            return self._release.resume_session(
                session.state,
                prompt=record.prompt,
                seed=record.seed,
                memory=record.enable_memory,
            )
        assert session.image is not None, "a session begins with an image or a state"
        return self._release.open_session(
            image=session.image,
            prompt=record.prompt,
            seed=record.seed,
            memory=record.enable_memory,
            pitch_radians=record.pitch_radians,
        )

    def _give(self, session: LiveSession, generator: SegmentGenerator) -> None:
        """Let a session go on with a generator; one that is over meanwhile retires it."""
        session.generator = generator
        session.state = None
        if not self._sessions.is_live(session):
            self._sessions.retire(session)

    def _post_ready(
        self, session: LiveSession, asked_at: float, *, is_resumed: bool = False
    ) -> None:
        event = contract.SessionReady(
            session_id=session.session_id,
            release=session.record.release,
            world=session.record.world,
            prompt=session.record.prompt,
            height=self._release.height,
            width=self._release.width,
            frames_per_segment=session.frames_per_segment,
            max_unacknowledged_segments=self._config.max_unacknowledged_segments,
            frames_per_second=self._config.playout_frames_per_second,
            encoding=session.encoding,
            next_action_index=session.num_actions,
            next_segment_index=max(
                session.num_segments, session.last_frame_index // session.frames_per_segment
            ),
            is_resumed=is_resumed,
            is_paused=session.is_paused,
        )
        image = None if is_resumed or session.image is None else session.image[None]
        session.image = None
        session.is_announced = True
        self._outbox.post(
            Delivery(
                session.sink,
                event,
                image,
                encoding=session.encoding,
                after=lambda: self._count_ready(asked_at, is_resumed=is_resumed),
            )
        )

    def _post_segment(
        self, session: LiveSession, frames: Frames, assignment: Assignment, started_at: float
    ) -> None:
        now = self._clock()
        segment_index, first_frame = session.num_segments, session.num_frames + 1
        num_known = session.count_segment(len(frames))
        if num_known == len(frames) or session.resumption is not None:
            return
        playout = (len(frames) - num_known) / self._config.playout_frames_per_second
        session.made_at, session.slack_seconds = now, assignment.deadline - now
        session.playout_end = max(session.playout_end, now) + playout
        event = contract.FramesEvent(
            session_id=session.session_id,
            segment_index=segment_index,
            num_frames=len(frames) - num_known,
            segment_seconds=now - started_at,
            waited_seconds=started_at - assignment.arrived_at,
            slack_seconds=session.slack_seconds,
            durable_frame_index=session.durable_frame_index,
        )
        self._outbox.post(
            Delivery(
                session.sink,
                event,
                frames[num_known:],
                first_frame + num_known,
                encoding=session.encoding,
                after=lambda: self._count_sent(event, assignment),
            )
        )

    def _count_ready(self, asked_at: float, *, is_resumed: bool) -> None:
        begun = self._metrics.sessions_resumed if is_resumed else self._metrics.sessions_opened
        begun.add(1)
        self._metrics.first_frame_seconds.observe(self._clock() - asked_at)

    def _count_sent(self, event: contract.FramesEvent, assignment: Assignment) -> None:
        self._metrics.frames.add(event.num_frames)
        self._metrics.segment_seconds.observe(event.segment_seconds)
        self._metrics.action_to_frame_seconds.observe(self._clock() - assignment.arrived_at)
        if event.slack_seconds < 0:
            self._metrics.deadline_misses.add(1)

    def _fail(self, session: LiveSession, error: Exception) -> None:
        sentence = f"session {session.session_id} cannot go on: {error}"
        event = contract.ErrorEvent.of(
            SessionError(ErrorCode.GENERATION_FAILED, sentence), session.session_id
        )
        with self._sessions.changed:
            if self._sessions.is_live(session):
                self._outbox.post(Delivery(session.sink, event))
                self._sessions.end(session, "failed")

    def _reap(self) -> None:
        now = self._clock()
        with self._sessions.changed:
            live = self._sessions.live
            self._sessions.is_draining = self._drain.end_at() is not None
            dropped = self._sessions.parking.drop_excess(now)
            if self._sessions.is_draining:
                dropped += self._sessions.parking.drop_stored()
        for parked in dropped:
            log_event(logger, "parked_session_dropped", session_id=parked.session_id)
        for session in live:
            self._reap_one(session, now)
            has_waited = now - session.opened_at > self._config.max_store_wait_seconds
            if session.num_units and not session.is_announced and has_waited:
                self._announce(session)
        self.close_retired()

    def _reap_one(self, session: LiveSession, now: float) -> None:
        is_cancelled = _is_cancelled(session)
        with self._sessions.changed:
            if not self._sessions.is_live(session) or session.resumption is not None:
                return
            reason = "cancelled" if is_cancelled else self._end_reason(session, now)
            is_long_pause = (
                session.paused_at is not None
                and session.has_slot
                and now - session.paused_at >= self._config.park_after_seconds
            )
            if reason is None and not is_long_pause:
                return
            if reason is not None and not self._outlives(session, reason):
                self._sessions.end(session, reason)
                return
            session.is_busy = True
        self._guarded(session, lambda session: self._put_away(session, reason))

    def _put_away(self, session: LiveSession, reason: contract.EndReason | None) -> None:
        """Take a session's state out of its generator; without a reason it keeps its stream."""
        generator = session.generator
        state = session.state if generator is None else generator.snapshot()
        with self._sessions.changed:
            if not self._sessions.is_live(session) or session.resumption is not None:
                return
            session.state = state
            if reason is None:
                self._sessions.leave_slot(session)
                return
            self._sessions.park(session)
            session.needs_saving = True
            sink = session.sink
        self._say_parked(session, sink, reason)

    def _say_parked(
        self, session: LiveSession, sink: ResponseSink, reason: contract.EndReason
    ) -> None:
        """Close a parked session's stream, as the last thing where another process goes on."""

        def close_stream() -> None:
            with self._sessions.changed:
                self._sessions.close_stream(session, sink, reason)

        if reason != "shutdown":
            close_stream()
        if self._durability.is_possible:
            is_handed_over = reason == "shutdown"
            self._durability.save(session, then=close_stream if is_handed_over else None)

    def _end_reason(self, session: LiveSession, now: float) -> contract.EndReason | None:
        end_at = self._drain.end_at()
        if end_at is not None and (now >= end_at or self._can_be_handed_over(session)):
            return "shutdown"
        patience = (
            self._config.max_parked_seconds if session.is_paused else self._config.max_idle_seconds
        )
        if session.is_finished() and not self._may_be_acknowledged(session, now):
            return "finished"
        if now - session.last_heard > patience:
            return "idle"
        if now - session.opened_at > self._config.max_session_seconds:
            return "too_long"
        return None

    def _may_be_acknowledged(self, session: LiveSession, now: float) -> bool:
        """Tell whether the last frames of a resumable session may still be acknowledged."""
        return (
            session.record.is_resumable
            and session.num_acknowledged < session.num_segments
            and now - session.made_at < self._config.last_acknowledgement_seconds
        )

    def _can_be_handed_over(self, session: LiveSession) -> bool:
        """Tell whether another process can go on with a session."""
        return session.record.is_resumable and self._durability.is_possible

    def _outlives(self, session: LiveSession, reason: contract.EndReason) -> bool:
        """Tell whether a session can be resumed after its stream ended for this reason."""
        if not session.record.is_resumable:
            return False
        if reason == "finished":
            return session.num_acknowledged < session.num_segments
        if reason == "shutdown":
            return self._can_be_handed_over(session)
        return reason in {"cancelled", "idle"}


def _is_cancelled(session: LiveSession) -> bool:
    # A sink that cannot even say whether somebody listens has nobody who does.
    try:
        return session.sink.is_cancelled()
    except Exception:
        logger.exception("sink_failed")
        return True
