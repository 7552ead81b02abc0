"""The actions of a session that may have to be told again, and those that were not told yet.

Actions are kept until the frames they led to outlive the server. It does not send.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import contract
from ..contract import MAX_MOUSE_UNITS, NUM_KEYS, NUM_MOUSE_AXES, ErrorCode, SessionError
from ..protocol import Actions

# More wait here than there: the server's queue has a limit, and what waits here is free.
MAX_ACTIONS_AHEAD = 1024
_MOST = np.array([1.0] * NUM_KEYS + [MAX_MOUSE_UNITS] * NUM_MOUSE_AXES, np.float32)
_LEAST = np.array([0.0] * NUM_KEYS + [-MAX_MOUSE_UNITS] * NUM_MOUSE_AXES, np.float32)


class ActionLog:
    """Numbered actions [F, 6 + 2], from the oldest that may be asked for to the newest."""

    def __init__(self) -> None:
        """Begin with action 0."""
        self._rows = np.empty((0, NUM_KEYS + NUM_MOUSE_AXES), np.float32)
        self._first = 0
        self._next_to_send = 0

    @property
    def num_actions(self) -> int:
        """Actions appended so far."""
        return self._first + len(self._rows)

    @property
    def num_kept(self) -> int:
        """Actions that could be told again."""
        return len(self._rows)

    def append(self, keyboard: ArrayLike, mouse: ArrayLike) -> int:
        """Add actions [F, 6] and [F, 2], or one action [6] and [2]; return the first's index.

        Raises:
            SessionError: `bad_tensor`, for another shape, or a value out of its range.
        """
        keys = np.atleast_2d(np.asarray(keyboard, np.float32))
        moves = np.atleast_2d(np.asarray(mouse, np.float32))
        contract.require_shape("keyboard", keys.shape, {1: NUM_KEYS}, 2)
        contract.require_shape("mouse", moves.shape, {0: len(keys), 1: NUM_MOUSE_AXES}, 2)
        rows = np.concatenate([keys, moves], axis=1)
        # Comparisons with what is no number are false.
        is_good = ((rows >= _LEAST) & (rows <= _MOST)).all(axis=1)
        if not is_good.all():
            index = int(np.flatnonzero(~is_good)[0])
            sentence = (
                f"action {index} is {rows[index].tolist()}, expected keys from 0 to 1 and mouse"
                f" from {-MAX_MOUSE_UNITS:g} to {MAX_MOUSE_UNITS:g}"
            )
            raise SessionError(ErrorCode.BAD_TENSOR, sentence)
        first = self.num_actions
        self._rows = np.concatenate([self._rows, rows])
        return first

    def next_message(self, last_frame_index: int, max_actions: int) -> Actions | None:
        """Return the next actions to send, None while enough of them wait for their frames."""
        limit = min(self.num_actions, last_frame_index + MAX_ACTIONS_AHEAD)
        start, stop = self._next_to_send, min(limit, self._next_to_send + max_actions)
        if start >= stop:
            return None
        self._next_to_send = stop
        rows = self._rows[start - self._first : stop - self._first]
        return Actions(
            action_index=start,
            keyboard=rows[:, :NUM_KEYS].tolist(),
            mouse=rows[:, NUM_KEYS:].tolist(),
        )

    def rewind(self, action_index: int) -> None:
        """Send again from this action on.

        Raises:
            SessionError: `state_lost`, when it is not kept any more or was never there.
        """
        if not self._first <= action_index <= self.num_actions:
            sentence = (
                f"the server asks for actions from {action_index} on, but only those from"
                f" {self._first} to {self.num_actions} are kept"
            )
            raise SessionError(ErrorCode.STATE_LOST, sentence)
        self._next_to_send = action_index

    def forget(self, action_index: int) -> None:
        """Drop the actions before this one: nobody will ask for them again."""
        num_dropped = min(action_index, self._next_to_send) - self._first
        if num_dropped > 0:
            self._rows = self._rows[num_dropped:].copy()
            self._first += num_dropped
