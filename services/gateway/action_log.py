"""The actions of one session that its engine might have to be told again, and when they came.

The engine says up to which frame a session outlives it; the actions after that are kept here, so
that the gateway can bring a session back without its player. It does not know streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contract import ErrorCode, SessionError


@dataclass(frozen=True, slots=True)
class LoggedActions:
    """The actions of one message.

    Attributes:
        action_index: index of the first.
        keyboard: [F, 6].
        mouse: [F, 2].
        received_at: the gateway's monotonic clock as they came.
    """

    action_index: int
    keyboard: NDArray[np.float32]
    mouse: NDArray[np.float32]
    received_at: float

    @property
    def end(self) -> int:
        """Index after the last action."""
        return self.action_index + len(self.keyboard)

    def since(self, action_index: int) -> LoggedActions:
        """Return the part from an action on."""
        skip = max(0, action_index - self.action_index)
        return LoggedActions(
            self.action_index + skip, self.keyboard[skip:], self.mouse[skip:], self.received_at
        )


class ActionLog:
    """What was sent and is not yet safe, oldest first, bounded."""

    def __init__(self, max_actions: int) -> None:
        """Keep at most so many actions; older ones are let go."""
        self._max_actions = max_actions
        self._entries: deque[LoggedActions] = deque()
        self._num_actions = 0
        self._first = 0  # the first action that is kept, or would be
        self._confirmed_end = 0

    def __len__(self) -> int:
        """Return the number of actions kept."""
        return self._num_actions

    def begin_at(self, action_index: int) -> None:
        """Forget everything: the player will send the actions from this one on."""
        self._entries.clear()
        self._num_actions = 0
        self._first = action_index
        self._confirmed_end = action_index

    def append(self, actions: LoggedActions) -> None:
        """Keep actions that the engine has been sent."""
        self._entries.append(actions)
        self._num_actions += len(actions.keyboard)
        while self._num_actions > self._max_actions:
            self._drop_oldest()

    def confirm(self, end: int) -> None:
        """Note that the engine has queued the actions before this one."""
        self._confirmed_end = max(self._confirmed_end, end)

    def withdraw(self) -> None:
        """Forget the oldest message that is not confirmed: the engine has refused it."""
        for position, entry in enumerate(self._entries):
            if entry.end > self._confirmed_end:
                del self._entries[position]
                self._num_actions -= len(entry.keyboard)
                return

    def forget_until(self, action_index: int) -> None:
        """Let go of the actions before this one."""
        while self._entries and self._entries[0].end <= action_index:
            self._drop_oldest()

    def receipt_of(self, action_index: int) -> float | None:
        """Return when an action came, None when it is no longer kept."""
        for entry in self._entries:
            if entry.action_index <= action_index < entry.end:
                return entry.received_at
        return None

    def since(self, action_index: int) -> Iterator[LoggedActions]:
        """Yield what must be sent again from an action on.

        Raises:
            SessionError: `state_lost`, when some of it is no longer kept.
        """
        if action_index < self._first:
            sentence = (
                f"the engine asks for the actions from {action_index} on,"
                f" the gateway has kept those from {self._first} on"
            )
            raise SessionError(ErrorCode.STATE_LOST, sentence)
        for entry in self._entries:
            if entry.end > action_index:
                yield entry.since(action_index)

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        self._num_actions -= len(oldest.keyboard)
        self._first = oldest.end
