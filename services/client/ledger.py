"""What a client knows of its session: state, actions, frames that wait for the caller, receipts.

Messages go in, messages to send come out; frames come out once each, in order, over however many
connections. No I/O, no clock and no waiting, so that every order of events can be tested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from numpy.typing import ArrayLike

from .. import protocol
from ..contract import Encoding, ErrorCode, SessionError
from ..session_state import SessionLife, SessionState
from .action_log import ActionLog
from .frame import Frame

_S = SessionState
_IN_PLAY = frozenset({_S.ACTIVE, _S.PAUSED, _S.CLOSING})
# What is asked by one call, which is told of the refusal.
_ANSWERABLE = frozenset({"pause", "continue", "snapshot"})
_ASKED_FOR = frozenset({"finished", "stopped"})
# Beyond the segments that credits allow, for the start image and the segment that is being read.
_SPARE_SEGMENTS = 1
_MAX_NOTICES = 16


class Ledger:
    """One session's books; the caller's side and the connection's side both write in them."""

    def __init__(self, encoding: Encoding, late_frames: protocol.LatePolicy = "keep") -> None:
        """Begin before anything was asked for."""
        self.encoding: Encoding = encoding
        self._late_frames = late_frames
        self.life = SessionLife()
        self.log = ActionLog()
        self.ready: protocol.Ready | None = None
        self.queued: protocol.Queued | None = None
        self.notices: deque[protocol.Notice] = deque(maxlen=_MAX_NOTICES)
        self.refusals: dict[str, SessionError] = {}
        self.failure: SessionError | None = None
        self.end: protocol.Ended | None = None
        self.last_frame_index = -1
        self.num_actions_received = 0
        self.num_dropped_there = 0
        self.num_dropped_here = 0
        self.num_snapshots = 0
        self.snapshot_frame_index = -1
        self.last_pong = -1
        self.wants_finish = False
        self._frames: deque[Frame] = deque()
        self._segment_ends: deque[tuple[int, int]] = deque()
        self._last_acknowledged = -1

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self.life.state

    @property
    def is_over(self) -> bool:
        """Tell whether no more frames will come in."""
        return self.life.is_over

    @property
    def is_in_play(self) -> bool:
        """Tell whether the session is open and its connection stands."""
        return self.state in _IN_PLAY

    @property
    def has_frames(self) -> bool:
        """Tell whether a frame waits for the caller."""
        return bool(self._frames)

    @property
    def num_dropped(self) -> int:
        """Frames that were left out for being late, by the gateway or here."""
        return self.num_dropped_there + self.num_dropped_here

    @property
    def has_room(self) -> bool:
        """Tell whether as many frames wait as credits allow, or fewer."""
        if self.ready is None:
            return True
        segments = self.ready.max_unacknowledged_segments + _SPARE_SEGMENTS
        return len(self._frames) <= segments * self.ready.frames_per_segment

    @property
    def owes_frames(self) -> bool:
        """Tell whether the server could make a frame now with what it was told."""
        if self.ready is None or self.state not in {_S.ACTIVE, _S.CLOSING}:
            return False
        num_waiting = self.num_actions_received - max(0, self.last_frame_index)
        return num_waiting >= (1 if self.state is _S.CLOSING else self.ready.frames_per_segment)

    def act(self, keyboard: ArrayLike, mouse: ArrayLike) -> tuple[int, int]:
        """Note actions and return the index of the first and of the one after the last.

        Raises:
            SessionError: for a wrong shape or value, or a session that is over or finishing.
        """
        self.require_open()
        if self.wants_finish:
            sentence = "actions after finish, expected none"
            raise SessionError(ErrorCode.WRONG_STATE, sentence)
        return self.log.append(keyboard, mouse), self.log.num_actions

    def require_open(self) -> None:
        """Check that the session is not over; raises why it is."""
        if self.failure is not None:
            raise self.failure
        if self.end is not None:
            sentence = f"the session is over: {self.end.reason}"
            raise SessionError(ErrorCode.SESSION_ENDED, sentence)

    def messages(self) -> Iterator[protocol.ClientMessage]:
        """Yield what is to be sent now; each message counts as sent."""
        while self.state is _S.ACTIVE and self.ready is not None:
            message = self.log.next_message(
                self.last_frame_index, self.ready.max_actions_per_message
            )
            if message is None:
                break
            yield message
        # Actions that were sent may yet be refused, and a session that finishes takes no more.
        is_all_there = self.num_actions_received == self.log.num_actions
        if self.wants_finish and self.state is _S.ACTIVE and is_all_there:
            self.life.move(_S.CLOSING)
            yield protocol.Close(finish_queue=True)

    def hello_again(self) -> protocol.Resume:
        """Return the message that resumes the session on a new connection."""
        assert self.ready is not None
        self.life.move(_S.RESUMING)
        return protocol.Resume(
            resume_token=self.ready.resume_token,
            last_frame_index=max(0, self.last_frame_index),
            encoding=self.encoding,
        )

    def catch_up(self) -> protocol.FramesReceived | None:
        """Return the acknowledgement that may have broken with the last connection."""
        if self._last_acknowledged < 0:
            return None
        return protocol.FramesReceived(segment_index=self._last_acknowledged)

    def take_frame(self) -> tuple[Frame, protocol.FramesReceived | None]:
        """Return the next frame, and the acknowledgement that is due with a segment's last."""
        frame = self._frames.popleft()
        acknowledged = -1
        while self._segment_ends and self._segment_ends[0][1] <= frame.frame_index:
            acknowledged = self._segment_ends.popleft()[0]
        if acknowledged < 0:
            return frame, None
        self._last_acknowledged = max(self._last_acknowledged, acknowledged)
        return frame, protocol.FramesReceived(segment_index=acknowledged)

    def give_frame(self, frame: Frame) -> None:
        """Take in a frame; one that came before is passed over."""
        if frame.frame_index > self.last_frame_index:
            self.last_frame_index = frame.frame_index
            self._frames.append(frame)
        if self._late_frames == "drop" and not self.has_room:
            self._drop_late()

    def give(self, message: protocol.ServerMessage) -> None:
        """Take in a message of the gateway.

        Raises:
            SessionError: for a fatal error, or actions that the server needs and nobody has.
        """
        if isinstance(message, protocol.Segment):
            self._segment(message)
        elif isinstance(message, protocol.ActionsReceived):
            told = message.action_index + message.num_actions
            self.num_actions_received = max(self.num_actions_received, told)
        elif isinstance(message, protocol.Ready):
            self._ready(message)
        elif isinstance(message, protocol.Error):
            self._error(message)
        elif isinstance(message, protocol.Ended):
            self._ended(message)
        else:
            self._news(message)

    def drop(self) -> None:
        """Note that the connection broke."""
        if self.state is _S.QUEUED:
            self.life.move(_S.RESUMING)
        if self.state is not _S.DROPPED:
            self.life.move(_S.DROPPED)

    def fail(self, error: SessionError) -> None:
        """Note why the session is over, although nobody asked for it."""
        if self.is_over:
            return
        everything = self.wants_finish and self.last_frame_index == self.log.num_actions
        if everything and error.code is ErrorCode.UNKNOWN_SESSION:
            # The last message was lost, not the last frame: nothing is missing.
            self.end = protocol.Ended(reason="finished", num_frames=self.last_frame_index)
        else:
            self.failure = error
        self.life.move(_S.ENDED)

    def _drop_late(self) -> None:
        """Leave out all but the newest segment, so that a slow caller sees what is new.

        The caller begins again at a frame that a decoder can begin with.
        """
        newest = self._frames[-1].segment_index
        while self._frames and not (
            self._frames[0].segment_index == newest and self._frames[0].is_key
        ):
            self._frames.popleft()
            self.num_dropped_here += 1

    def _segment(self, message: protocol.Segment) -> None:
        last = message.first_frame_index + message.num_frames - 1
        self._segment_ends.append((message.segment_index, last))
        self.num_dropped_there = max(self.num_dropped_there, message.num_dropped)
        self.log.forget(message.durable_frame_index)

    def _ready(self, message: protocol.Ready) -> None:
        if self.state is _S.QUEUED:
            self.life.move(_S.RESUMING if message.is_resumed else _S.OPENING)
        self.life.move(_S.PAUSED if message.is_paused else _S.ACTIVE)
        self.ready, self.queued = message, None
        # Segments that did not come to their end are told again.
        self._segment_ends = deque(
            ending for ending in self._segment_ends if ending[1] <= self.last_frame_index
        )
        self.log.rewind(message.next_action_index)
        self.num_actions_received = message.next_action_index

    def _error(self, message: protocol.Error) -> None:
        error = SessionError(message.code, message.message)
        # A refused action leaves a gap that only a resumed session closes.
        if message.is_fatal or message.refused not in _ANSWERABLE:
            raise error
        self.refusals[message.refused] = error

    def _ended(self, message: protocol.Ended) -> None:
        self.end = message
        if message.reason not in _ASKED_FOR:
            sentence = f"the server ended the session: {message.reason}"
            self.failure = SessionError(ErrorCode.SESSION_ENDED, sentence)
        self.life.move(_S.ENDED)

    def _news(self, message: protocol.ServerMessage) -> None:
        if isinstance(message, protocol.Queued):
            self.queued = message
            if self.state is not _S.QUEUED:
                self.life.move(_S.QUEUED)
        elif isinstance(message, protocol.Paused) and self.state is _S.ACTIVE:
            self.life.move(_S.PAUSED)
        elif isinstance(message, protocol.Continued) and self.state is _S.PAUSED:
            self.life.move(_S.ACTIVE)
        elif isinstance(message, protocol.SnapshotTaken):
            self.num_snapshots += 1
            self.snapshot_frame_index = message.frame_index
        elif isinstance(message, protocol.Notice):
            self.notices.append(message)
        elif isinstance(message, protocol.Pong):
            self.last_pong = message.nonce
