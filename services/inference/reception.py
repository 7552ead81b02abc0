"""Messages in: each is checked against its session's state, changes it and is answered at once.

It answers on the calling thread and leaves all work to the device's. It does not know threads or
what the device does.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from functools import cached_property

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.codec import encode_jpeg, encodings_for
from services.inference.engine_config import EngineConfig
from services.inference.generator import StartWorld, WorldRelease
from services.inference.live_session import LiveSession
from services.inference.request import Request
from services.inference.response import ResponseSink
from services.inference.retrieval import Retrieval
from services.inference.session_record import SessionRecord
from services.inference.sessions import Sessions


class Reception:
    """Takes in the messages of clients."""

    def __init__(
        self,
        release: WorldRelease,
        config: EngineConfig,
        sessions: Sessions,
        retrieval: Retrieval,
        *,
        release_digest: str,
        clock: Callable[[], float],
    ) -> None:
        """Work on these sessions."""
        self._release = release
        self._config = config
        self._sessions = sessions
        self._retrieval = retrieval
        self._digest = release_digest
        self._clock = clock

    def take_in(
        self, message: contract.Message, request: Request, sink: ResponseSink
    ) -> contract.Event | None:
        """Take in a message; return the answer, or None where the sink is kept for later.

        Raises:
            SessionError: when the message is refused; nothing has changed then.
        """
        match message:
            case contract.Describe():
                return self._description(with_images=message.with_images)
            case contract.SessionStart():
                self._open(message, request, sink)
                return None
            case contract.SessionResume():
                self._resume(message, sink)
                return None
            case contract.SessionSnapshot():
                self._snapshot(message, sink)
                return None
            case contract.ActionsMessage():
                return self._append(message, request)
            case contract.FramesReceived() | contract.SessionStop():
                self._last_words(message)
            case contract.SessionPause():
                self._pause(message)
            case contract.SessionContinue():
                self._continue(message)
        return contract.Acknowledged(session_id=message.session_id)

    @cached_property
    def _start_images(self) -> dict[str, str]:
        """What each world looks like, as base64 of a JPEG."""
        quality = self._config.jpeg_quality
        return {
            world.name: base64.b64encode(encode_jpeg(world.image, quality)).decode()
            for world in self._release.worlds
        }

    def _description(self, *, with_images: bool) -> contract.Description:
        images = self._start_images if with_images else {}
        release = self._release
        return contract.Description(
            release=self._digest,
            height=release.height,
            width=release.width,
            frames_per_segment=release.frames_per_segment,
            worlds=tuple(
                contract.WorldInfo(
                    name=world.name, prompt=world.prompt, image=images.get(world.name, "")
                )
                for world in release.worlds
            ),
            num_slots=self._config.num_slots,
            num_sessions=self._sessions.num_slots_used,
            num_parked=self._sessions.num_waiting,
            frames_per_second=self._config.playout_frames_per_second,
            encodings=encodings_for(release.height, release.width),
        )

    def _open(self, message: contract.SessionStart, request: Request, sink: ResponseSink) -> None:
        if message.session_id in self._sessions.parking or self._sessions.get(message.session_id):
            sentence = f"session {message.session_id} is open already"
            raise SessionError(ErrorCode.SESSION_EXISTS, sentence)
        self._require_encoding(message.encoding)
        world = self._world(message.world)
        image = request.start_image(self._release.height, self._release.width)
        record = SessionRecord(
            session_id=message.session_id,
            release=self._digest,
            world=world.name if image is None else "",
            prompt=world.prompt if message.prompt is None else message.prompt,
            seed=message.seed,
            enable_memory=message.enable_memory,
            pitch_radians=world.pitch_radians if image is None else 0.0,
            is_resumable=message.is_resumable,
            opened_at_ms=time.time_ns() // 1_000_000,
        )
        now = self._clock()
        session = LiveSession(
            record=record,
            encoding=message.encoding,
            sink=sink,
            frames_per_segment=self._release.frames_per_segment,
            opened_at=now,
            last_heard=now,
            playout_end=now,
            image=world.image if image is None else image,
        )
        self._sessions.add(session)

    def _resume(self, message: contract.SessionResume, sink: ResponseSink) -> None:
        self._require_encoding(message.encoding)
        session = self._sessions.get(message.session_id)
        if session is not None:
            self._take_over(session)
        else:
            session = self._sessions.parking.get(message.session_id)
            if session is None or self._is_left_behind(session, message):
                self._retrieval.fetch(message, sink)
                return
            self._sessions.add(session)
            self._sessions.parking.take(message.session_id)
        session.go_on(message, sink, self._clock())

    def _is_left_behind(self, parked: LiveSession, message: contract.SessionResume) -> bool:
        """Tell whether another process may have gone on with a session that is parked here."""
        return self._retrieval.is_possible and parked.num_frames < message.last_frame_index

    def _take_over(self, session: LiveSession) -> None:
        if not session.record.is_resumable:
            sentence = f"session {session.session_id} was not opened to be resumable"
            raise SessionError(ErrorCode.WRONG_STATE, sentence)
        if not session.has_slot:
            self._sessions.require_slot()
            session.has_slot = True
        self._sessions.close_stream(session, session.sink, "taken_over")

    def _append(
        self, message: contract.ActionsMessage, request: Request
    ) -> contract.ActionsReceived:
        session = self._session(message.session_id)
        actions = request.actions(self._config.max_queued_actions)
        session.append(
            actions, message.action_index, self._config.max_queued_actions, self._clock()
        )
        return contract.ActionsReceived(
            session_id=session.session_id,
            action_index=message.action_index,
            num_actions=len(actions),
            num_queued_actions=session.num_queued,
        )

    def _snapshot(self, message: contract.SessionSnapshot, sink: ResponseSink) -> None:
        session = self._session(message.session_id)
        if not self._retrieval.is_possible:
            sentence = "this server has no session store, so that no snapshot can be kept"
            raise SessionError(ErrorCode.WRONG_STATE, sentence)
        session.needs_saving = True
        session.snapshot_sinks.append(sink)

    def _pause(self, message: contract.SessionPause) -> None:
        session = self._session(message.session_id)
        if session.paused_at is None:
            session.paused_at = self._clock()

    def _continue(self, message: contract.SessionContinue) -> None:
        session = self._session(message.session_id)
        if not session.has_slot:
            self._sessions.require_slot()
            session.has_slot = True
        session.paused_at = None

    def _last_words(self, message: contract.FramesReceived | contract.SessionStop) -> None:
        """Take in what may cross the session's end on the wire, and then is no mistake."""
        session = self._sessions.get(message.session_id)
        if session is None:
            self._last_words_of_parked(message)
            return
        session.last_heard = self._clock()
        if isinstance(message, contract.FramesReceived):
            session.acknowledge(message.segment_index)
        elif message.finish_queue:
            session.is_finishing = True
        else:
            self._sessions.end(session, "stopped")

    def _last_words_of_parked(
        self, message: contract.FramesReceived | contract.SessionStop
    ) -> None:
        """Forget a parked session whose client wants no more of it."""
        session = self._sessions.parking.get(message.session_id)
        if session is None:
            return
        if isinstance(message, contract.FramesReceived):
            has_all = message.segment_index == session.num_segments - 1
            if has_all and session.is_finished():
                self._sessions.end_parked(message.session_id)
        elif message.finish_queue:
            session.is_finishing = True
        else:
            self._sessions.end_parked(message.session_id)

    def _session(self, session_id: str) -> LiveSession:
        session = self._sessions.get(session_id)
        if session is None:
            sentence = f"session {session_id} is not open here"
            raise SessionError(ErrorCode.UNKNOWN_SESSION, sentence)
        session.last_heard = self._clock()
        return session

    def _require_encoding(self, encoding: contract.Encoding) -> None:
        height, width = self._release.height, self._release.width
        if encoding not in encodings_for(height, width):
            sentence = f"encoding {encoding} needs an even height and width, not {height}x{width}"
            raise SessionError(ErrorCode.BAD_MESSAGE, sentence)

    def _world(self, name: str | None) -> StartWorld:
        for world in self._release.worlds:
            if name is None or world.name == name:
                return world
        known = ", ".join(world.name for world in self._release.worlds)
        sentence = f"world {name!r} is not in the release; it has: {known}"
        raise SessionError(ErrorCode.UNKNOWN_WORLD, sentence)
