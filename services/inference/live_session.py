"""The state of one live session: queued actions, credits, playout deadline. Plain data, no locks.

The engine holds its lock while it calls these methods. It does not know threads or transports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.contract import ErrorCode, Event, SessionError, SessionStart
from services.inference.generator import Frames, SegmentGenerator
from worldloom.actions import Actions


@dataclass(frozen=True)
class Response:
    """One event with the encoded frames that belong to it."""

    event: Event
    frames: tuple[bytes, ...] = ()
    frame_index: tuple[int, ...] = ()
    action_index: tuple[int, ...] = ()


class ResponseSink(Protocol):
    """Where the responses of one request go."""

    def send(self, response: Response) -> None:
        """Send one response."""

    def is_cancelled(self) -> bool:
        """Tell whether nobody listens any more."""

    def close(self) -> None:
        """Say that this was the last response."""


@dataclass
class LiveSession:
    """A session that holds a slot."""

    start: SessionStart
    world: str
    prompt: str
    image: Frames
    pitch_radians: float
    sink: ResponseSink
    opened_at: float
    last_heard: float
    playout_end: float
    generator: SegmentGenerator | None = None
    pending: list[Actions] = field(default_factory=list)
    num_actions: int = 0
    num_frames: int = 0
    num_segments: int = 0
    num_acknowledged: int = 0
    is_finishing: bool = False
    is_busy: bool = False

    @property
    def session_id(self) -> str:
        """The id that the client chose."""
        return self.start.session_id

    @property
    def num_queued(self) -> int:
        """Actions that wait for their frames."""
        return sum(len(actions) for actions in self.pending)

    def append(self, actions: Actions, action_index: int, max_queued: int) -> None:
        """Queue actions; raises `SessionError` when they leave a gap or are too many."""
        if self.is_finishing:
            message = f"session {self.session_id} is finishing and takes no more actions"
            raise SessionError(ErrorCode.BAD_MESSAGE, message)
        if action_index != self.num_actions:
            message = f"action_index is {action_index}, expected {self.num_actions}"
            raise SessionError(ErrorCode.BAD_MESSAGE, message)
        if self.num_queued + len(actions) > max_queued:
            message = (
                f"{self.num_queued} actions are queued and {len(actions)} came,"
                f" expected at most {max_queued} in all"
            )
            raise SessionError(ErrorCode.TOO_MANY_ACTIONS, message)
        self.pending.append(actions)
        self.num_actions += len(actions)

    def acknowledge(self, segment_index: int) -> None:
        """Take in that the client has these segments; raises `SessionError` for a later one."""
        if segment_index >= self.num_segments:
            message = f"segment_index is {segment_index}, expected one below {self.num_segments}"
            raise SessionError(ErrorCode.BAD_MESSAGE, message)
        self.num_acknowledged = max(self.num_acknowledged, segment_index + 1)

    def has_work(self, frames_per_segment: int, max_unacknowledged: int) -> bool:
        """Tell whether a worker can do something for this session now."""
        if self.is_busy:
            return False
        if self.generator is None:
            return True
        if self.num_segments - self.num_acknowledged >= max_unacknowledged:
            return False
        needed = 1 if self.is_finishing else frames_per_segment
        return self.num_queued >= needed

    def is_finished(self) -> bool:
        """Tell whether all that was asked for has been made."""
        return self.is_finishing and not self.is_busy and not self.num_queued

    def take(self, frames_per_segment: int) -> tuple[Actions, int]:
        """Return the actions of the next segment and how many of them the client sent.

        Only the last segment of a finishing session is filled up, with actions that do nothing.
        """
        keyboard = np.concatenate([actions.keyboard for actions in self.pending])
        mouse = np.concatenate([actions.mouse for actions in self.pending])
        num_taken = min(frames_per_segment, len(keyboard))
        rest = (
            Actions(keyboard[num_taken:], mouse[num_taken:]) if len(keyboard) > num_taken else None
        )
        self.pending = [] if rest is None else [rest]
        filling = frames_per_segment - num_taken
        return Actions(
            _padded(keyboard[:num_taken], filling), _padded(mouse[:num_taken], filling)
        ), num_taken


def _padded(rows: NDArray[np.float32], num_rows: int) -> NDArray[np.float32]:
    return np.pad(rows, ((0, num_rows), (0, 0)))
