"""The work of the device's thread: open, resume, generate; one step at a time.

Each step serves the session whose frames are due first (earliest deadline first). Only this
thread calls generators: a session is marked busy under the lock, worked on without it, and looked
at again under the lock, since its client may have left or begun anew meanwhile. It does not know
messages or threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.durability import Durability
from services.inference.engine_config import EngineConfig
from services.inference.generator import Frames, SegmentGenerator, WorldRelease
from services.inference.live_session import Assignment, LiveSession
from services.inference.metrics import EngineMetrics
from services.inference.outbox import Delivery, Outbox
from services.inference.reaper import Reaper
from services.inference.sessions import Sessions

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
        reaper: Reaper,
        *,
        metrics: EngineMetrics,
        clock: Callable[[], float],
    ) -> None:
        """Work for these sessions."""
        self._release = release
        self._config = config
        self._sessions = sessions
        self._outbox = outbox
        self._durability = durability
        self._reaper = reaper
        self._metrics = metrics
        self._playout_seconds = release.frames_per_segment / config.playout_frames_per_second
        self._clock = clock

    def step(self) -> bool:
        """Do one piece of work, the most urgent; False when there is none."""
        for leaving in self._reaper.leaving():
            self._guarded(leaving.session, partial(self._reaper.put_away, reason=leaving.reason))
        self.close_retired()
        for overdue in self._overdue():
            self._announce(overdue)
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
        if self._reaper.can_be_handed_over(session):  # a client that was told may count on it
            self._durability.save(session, then=lambda: self._announce(session))
        else:
            self._announce(session)

    def _overdue(self) -> list[LiveSession]:
        """Return new sessions that have waited for the store for long enough."""
        latest = self._clock() - self._config.max_store_wait_seconds
        with self._sessions.changed:
            return [
                session
                for session in self._sessions.live
                if session.num_units and not session.is_announced and session.opened_at < latest
            ]

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
