"""The state of one session: queued actions, credits, deadline, where it goes on. Plain data.

The engine holds its lock while it calls these methods. It does not know threads or transports.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract import Encoding, ErrorCode, SessionError, SessionResume
from services.inference.generator import Frames, SegmentGenerator
from services.inference.response import ResponseSink
from services.inference.session_record import SessionRecord
from services.inference.world_state import WorldState
from worldloom.actions import Actions


@dataclass(frozen=True)
class QueuedActions:
    """Actions that wait for their frames, and since when."""

    actions: Actions
    arrived_at: float


@dataclass(frozen=True)
class Resumption:
    """A client that goes on with the session: what it has, and from when on it waits."""

    last_frame_index: int
    asked_at: float


@dataclass(frozen=True)
class Assignment:
    """The actions of the next segment, and what was expected of it.

    Attributes:
        actions: as many as a segment has frames.
        num_sent: how many of them the client sent; the rest fill the segment up.
        arrived_at: when the last of those came.
        deadline: when the segment's frames are due.
    """

    actions: Actions
    num_sent: int
    arrived_at: float
    deadline: float


@dataclass(eq=False)
class LiveSession:
    """One session, with a stream or parked.

    It holds a generator, or what a generator begins with: its start image, or a state. It is
    announced once its client was told that it is ready; no frame is made before.

    Attributes:
        opened_at: by the engine's clock, as all times here.
        last_heard: when its client sent something last.
        playout_end: when a player has seen all frames that were sent.
        resumption: set while a client waits to go on; the device's thread does it next.
        pending: actions that wait for their frames, the next ones first.
        num_actions: actions that came, `num_frames` of which have become frames.
        num_segments: segments made, of which the client acknowledged `num_acknowledged`.
        last_frame_index: frames up to here are made but not sent, since the client has them.
        made_at: when the latest segment was sent, with so much play time left (`slack_seconds`).
        is_busy: the device's thread is at work on it.
        num_durable_units: units (see `world_state`) that the store has.
        needs_saving: its state is to be stored with all that waits, whether anything is new or not.
    """

    record: SessionRecord
    encoding: Encoding
    sink: ResponseSink
    frames_per_segment: int
    opened_at: float
    last_heard: float
    playout_end: float
    image: Frames | None = None
    state: WorldState | None = None
    generator: SegmentGenerator | None = None
    resumption: Resumption | None = None
    pending: deque[QueuedActions] = field(default_factory=deque)
    num_actions: int = 0
    num_frames: int = 0
    num_segments: int = 0
    num_acknowledged: int = 0
    last_frame_index: int = 0
    made_at: float = 0.0
    slack_seconds: float = math.inf
    is_finishing: bool = False
    paused_at: float | None = None
    has_slot: bool = True
    is_busy: bool = False
    is_announced: bool = False
    num_durable_units: int = 0
    is_saving: bool = False
    needs_saving: bool = False
    save_after: float = 0.0
    snapshot_sinks: list[ResponseSink] = field(default_factory=list)

    @property
    def session_id(self) -> str:
        """The id that the client chose."""
        return self.record.session_id

    @property
    def is_paused(self) -> bool:
        """Tell whether the client wants no frames for now."""
        return self.paused_at is not None

    @property
    def num_units(self) -> int:
        """The start image and the segments that the state holds; 0 before there is a state."""
        has_begun = self.generator is not None or self.state is not None
        return self.num_segments + 1 if has_begun else 0

    @property
    def is_stored(self) -> bool:
        """Tell whether the store has all that there is of the session."""
        is_under_way = self.is_saving or self.needs_saving
        return not is_under_way and 0 < self.num_units <= self.num_durable_units

    @property
    def durable_frame_index(self) -> int:
        """The last frame that the store's parts lead to."""
        num_segments = max(0, self.num_durable_units - 1)
        return min(self.num_frames, num_segments * self.frames_per_segment)

    @property
    def num_queued(self) -> int:
        """Actions that wait for their frames."""
        return self.num_actions - self.num_frames

    def append(self, actions: Actions, action_index: int, max_queued: int, now: float) -> None:
        """Queue actions; raises `SessionError` when they leave a gap or are too many."""
        if self.is_finishing:
            message = f"session {self.session_id} is finishing and takes no more actions"
            raise SessionError(ErrorCode.WRONG_STATE, message)
        if action_index != self.num_actions:
            message = f"action_index is {action_index}, expected {self.num_actions}"
            raise SessionError(ErrorCode.BAD_MESSAGE, message)
        if self.num_queued + len(actions) > max_queued:
            message = (
                f"{self.num_queued} actions are queued and {len(actions)} came,"
                f" expected at most {max_queued} in all"
            )
            raise SessionError(ErrorCode.TOO_MANY_ACTIONS, message)
        self.pending.append(QueuedActions(actions, now))
        self.num_actions += len(actions)

    def go_on(self, message: SessionResume, sink: ResponseSink, now: float) -> None:
        """Let the session go on with a new stream, from the frame that its client has."""
        self.sink = sink
        self.encoding = message.encoding
        self.last_heard = now
        if self.paused_at is not None:  # the slot that it has now is its own for a while
            self.paused_at = now
        self.resumption = Resumption(message.last_frame_index, now)

    def acknowledge(self, segment_index: int) -> None:
        """Take in that the client has these segments; raises `SessionError` for a later one."""
        if segment_index >= self.num_segments:
            message = f"segment_index is {segment_index}, expected one below {self.num_segments}"
            raise SessionError(ErrorCode.BAD_MESSAGE, message)
        self.num_acknowledged = max(self.num_acknowledged, segment_index + 1)

    def has_work(self, max_unacknowledged: int) -> bool:
        """Tell whether a worker can do something for this session now."""
        if self.is_busy or not self.has_slot:
            return False
        if self.generator is None or self.resumption is not None:
            return True
        if not self.is_announced or self.is_paused:
            return False
        if self.num_segments - self.num_acknowledged >= max_unacknowledged:
            return False
        needed = 1 if self.is_finishing else self.frames_per_segment
        return self.num_queued >= needed

    def is_finished(self) -> bool:
        """Tell whether all that was asked for has been made."""
        is_idle = not self.is_busy and self.resumption is None
        return self.is_finishing and is_idle and not self.num_queued

    def deadline(self, playout_seconds: float) -> float:
        """Return when the frames of the next segment are due.

        A player whose frames had run out before its actions came begins anew, one segment ahead.

        Args:
            playout_seconds: how long a segment plays.
        """
        complete_at = self._complete_at()
        if self.playout_end > complete_at:
            return self.playout_end
        return complete_at + playout_seconds

    def take(self, playout_seconds: float) -> Assignment:
        """Take the actions of the next segment from the queue.

        Only the last segment of a finishing session is filled up, with actions that do nothing.
        """
        arrived_at, deadline = self._complete_at(), self.deadline(playout_seconds)
        taken: list[Actions] = []
        wanted = self.frames_per_segment
        while wanted and self.pending:
            first = self.pending.popleft()
            taken.append(first.actions[:wanted])
            if len(first.actions) > wanted:
                rest = QueuedActions(first.actions[wanted:], first.arrived_at)
                self.pending.appendleft(rest)
            wanted -= len(taken[-1])
        keyboard = np.concatenate([actions.keyboard for actions in taken])
        mouse = np.concatenate([actions.mouse for actions in taken])
        whole = Actions(_padded(keyboard, wanted), _padded(mouse, wanted))
        return Assignment(whole, len(keyboard), arrived_at, deadline)

    def queued_actions(self) -> Actions | None:
        """Return all actions that wait for their frames, None when there are none."""
        if not self.pending:
            return None
        waiting = [queued.actions for queued in self.pending]
        return Actions(
            np.concatenate([actions.keyboard for actions in waiting]),
            np.concatenate([actions.mouse for actions in waiting]),
        )

    def rewind(self, state: WorldState, num_segments: int, now: float) -> None:
        """Go back to after a number of segments; the frames after them will be made again.

        Args:
            state: the whole state of the session.
            num_segments: what remains of it, fewer than there are.
            now: when the actions that are obeyed again count as come.
        """
        start = num_segments * self.frames_per_segment
        obeyed = state.actions(num_segments, state.num_segments)
        # The last segment of a session that ends may have been filled up.
        self.pending.appendleft(QueuedActions(obeyed[: self.num_frames - start], now))
        self.num_frames, self.num_segments = start, num_segments
        self.state = state.part(0, num_segments + 1)

    def count_segment(self, num_frames: int) -> int:
        """Count a segment that was made; return how many of its frames the client has already."""
        first = self.num_frames + 1
        self.num_segments += 1
        self.num_frames += num_frames
        num_known = min(num_frames, max(0, self.last_frame_index - first + 1))
        if num_known == num_frames:
            self.num_acknowledged = self.num_segments
        return num_known

    def _complete_at(self) -> float:
        """Return when the last action of the next segment came."""
        wanted, arrived_at = self.frames_per_segment, self.last_heard
        for queued in self.pending:
            arrived_at = queued.arrived_at
            wanted -= len(queued.actions)
            if wanted <= 0:
                break
        return arrived_at


def _padded(rows: NDArray[np.float32], num_rows: int) -> NDArray[np.float32]:
    return np.pad(rows, ((0, num_rows), (0, 0)))
