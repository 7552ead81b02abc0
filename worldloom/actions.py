"""Actions: what a player does in a frame, its checks and its file format.

`keyboard` [F, 6] is W, S, A, D and two unused keys, 0 or 1 each; `mouse` [F, 2] is (pitch rate,
yaw rate) in mouse units (one unit is `Kinematics.turn_degrees_per_unit`), at most
`MAX_MOUSE_UNITS` either way. `actions[f]` is what moved the camera from frame f-1 to frame f. An
action file is JSON: `{"keyboard": [[...6] ...], "mouse": [[...2] ...]}`. It does not know what the
camera does with them.

Letters: F pixel frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from worldloom.arrays import BoolArray, SingleArray
from worldloom.errors import DataError

NUM_KEYS = 6
NUM_MOUSE_AXES = 2
# What the reference tells the network where there is no action: in memory slots, and in the
# unconditional branch of guidance. No player's action: a key is never -1.
NO_ACTION_KEYBOARD = -1.0
NO_ACTION_MOUSE = 1.0
# Half a turn a frame at the reference's 15 degrees a unit; no larger turn can be told from the
# smaller one the other way. Recordings stay within half a unit.
MAX_MOUSE_UNITS = 12.0

# Of any shape: `Actions` is the check of what came from outside, and says what it expected.
Unchecked = Float[SingleArray, "..."]


@dataclass(frozen=True)
class Actions:
    """The actions of F frames.

    Attributes:
        keyboard: float32 [F, 6], 0 or 1.
        mouse: float32 [F, 2], mouse units.
    """

    keyboard: Unchecked
    mouse: Unchecked

    def __post_init__(self) -> None:
        """Check shapes and ranges; raises `DataError` naming array, place, value and range."""
        _check_shape("keyboard", self.keyboard, NUM_KEYS)
        _check_shape("mouse", self.mouse, NUM_MOUSE_AXES)
        if len(self.keyboard) != len(self.mouse):
            message = (
                f"actions: keyboard has {len(self.keyboard)} frames and mouse {len(self.mouse)},"
                " expected as many of each"
            )
            raise DataError(message)
        _check_values("keyboard", self.keyboard, np.isin(self.keyboard, (0.0, 1.0)), "0 or 1")
        _check_values(
            "mouse",
            self.mouse,
            np.abs(self.mouse) <= MAX_MOUSE_UNITS,  # false for what is no number
            f"a number from -{MAX_MOUSE_UNITS:g} to {MAX_MOUSE_UNITS:g}",
        )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.keyboard)

    def __getitem__(self, frames: slice) -> Actions:
        """Return the actions of a slice of frames."""
        return Actions(self.keyboard[frames], self.mouse[frames])

    @classmethod
    def still(cls, num_frames: int) -> Actions:
        """Return actions in which nothing is pressed or moved."""
        return cls(
            np.zeros((num_frames, NUM_KEYS), np.float32),
            np.zeros((num_frames, NUM_MOUSE_AXES), np.float32),
        )


def read_actions(path: Path) -> Actions:
    """Read an action file.

    Raises:
        DataError: when the file is missing, is not JSON or has the wrong keys or shapes.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        message = f"action file {path}: {error.strerror}"
        raise DataError(message) from error
    except ValueError as error:
        message = f"action file {path}: not JSON ({error})"
        raise DataError(message) from error
    if not isinstance(values, dict) or set(values) != {"keyboard", "mouse"}:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        message = f"action file {path}: found {found}, expected the keys keyboard and mouse"
        raise DataError(message)
    try:
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
            keyboard = np.asarray(values["keyboard"], np.float32)
            mouse = np.asarray(values["mouse"], np.float32)
    except (TypeError, ValueError) as error:
        message = f"action file {path}: rows of unequal length or not numbers ({error})"
        raise DataError(message) from error
    return Actions(keyboard, mouse)


def write_actions(path: Path, actions: Actions) -> None:
    """Write an action file."""
    values = {
        "keyboard": actions.keyboard.astype(int).tolist(),
        "mouse": [[round(float(v), 6) for v in row] for row in actions.mouse],
    }
    path.write_text(json.dumps(values))


def _check_shape(name: str, array: Unchecked, width: int) -> None:
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        message = f"actions: {name} has shape {list(array.shape)}, expected [frames, {width}]"
        raise DataError(message)


def _check_values(
    name: str,
    array: Float[SingleArray, "F columns"],
    is_valid: Bool[BoolArray, "F columns"],
    expected: str,
) -> None:
    if not is_valid.all():
        frame, column = (int(index) for index in np.argwhere(~is_valid)[0])
        message = (
            f"actions: {name} holds a value out of range at frame {frame}, column {column}:"
            f" {array[frame, column]:g}, expected {expected}"
        )
        raise DataError(message)
