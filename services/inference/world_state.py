"""The state that a session goes on from: arrays that grow by the same rows with every segment.

A unit is the start image (unit 0) or a segment (unit n is the n-th). Every array has one row for
unit 0 and, from then on, an equal number of rows a unit, so a state can be cut and joined between
units without knowing what the arrays mean. Two of them are always there, since the engine makes
frames anew from them: `keyboard` [rows, 6] and `mouse` [rows, 2], a row a frame. It does not know
networks, stores or sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contract import KEYBOARD, MOUSE
from worldloom.actions import Actions
from worldloom.errors import DataError

StateArrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class WorldState:
    """The units from `start` to before `stop` of one session."""

    start: int
    stop: int
    arrays: StateArrays

    def __post_init__(self) -> None:
        """Check that every array has whole units; raises `DataError` naming the array."""
        for name, array in self.arrays.items():
            self._rows_per_unit(name, len(array))

    @property
    def num_segments(self) -> int:
        """Segments from the session's start to the end of this state."""
        return self.stop - 1

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def part(self, start: int, stop: int) -> WorldState:
        """Return some of the units; they must be here."""
        assert self.start <= start <= stop <= self.stop, (self.start, start, stop, self.stop)
        arrays = {
            name: array[self._row(name, start) : self._row(name, stop)]
            for name, array in self.arrays.items()
        }
        return WorldState(start, stop, arrays)

    def joined(self, later: WorldState) -> WorldState:
        """Return this state and the one that follows on it as one.

        Raises:
            DataError: when the later one begins elsewhere or has other arrays.
        """
        if later.start != self.stop or later.arrays.keys() != self.arrays.keys():
            message = (
                f"state of units {later.start} to {later.stop} with {sorted(later.arrays)}:"
                f" expected one from unit {self.stop} on with {sorted(self.arrays)}"
            )
            raise DataError(message)
        arrays = {
            name: np.concatenate([array, later.arrays[name]]) for name, array in self.arrays.items()
        }
        return WorldState(self.start, later.stop, arrays)

    def actions(self, start: int, stop: int) -> Actions:
        """Return the actions of segments `start` to before `stop`, counted from 0."""
        part = self.part(start + 1, stop + 1)
        return Actions(
            part.arrays[KEYBOARD].astype(np.float32), part.arrays[MOUSE].astype(np.float32)
        )

    def _row(self, name: str, unit: int) -> int:
        array = self.arrays[name]
        rows_per_unit = self._rows_per_unit(name, len(array))
        if self.start == 0:
            return 0 if unit == 0 else 1 + (unit - 1) * rows_per_unit
        return (unit - self.start) * rows_per_unit

    def _rows_per_unit(self, name: str, num_rows: int) -> int:
        num_units = self.stop - self.start
        if self.start == 0 and num_units:  # the start image has one row
            num_units, num_rows = num_units - 1, num_rows - 1
        rows_per_unit = num_rows // num_units if num_units else 0
        if rows_per_unit * num_units != num_rows:
            message = (
                f"state of units {self.start} to {self.stop}: {name} has {num_rows} rows for"
                f" {num_units} segments, expected equally many for each"
            )
            raise DataError(message)
        return rows_per_unit
