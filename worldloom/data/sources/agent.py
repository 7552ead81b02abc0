"""The exploring agent: which keys it holds and how it turns, frame by frame.

A plan is a list of `Move`s, each held for some frames. `Explorer` draws them at random, mostly
walking forward and turning, and turns away from what `blocked` reports. Loops and spins are fixed
plans. A world adds palindromes, laps (there and back on one way, again and again), walks that only
lead on (forward) and those that come to a stand (still). It does not know which world it walks in:
the caller says what is blocked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from worldloom.actions import NUM_KEYS
from worldloom.arrays import SingleArray
from worldloom.camera import Kinematics

Trajectory = Literal["palindrome", "loop", "spin", "free", "forward", "still", "laps"]
# Drawn by their shares where none is asked for; the others are for evaluations, which ask.
TRAJECTORIES: tuple[Trajectory, ...] = ("palindrome", "loop", "spin", "free")
TRAJECTORY_SHARES = (0.4, 0.2, 0.2, 0.2)
STILL_AFTER_FRAMES = 24
LAP_FRAMES = 120
KEYS = {"W": 0, "S": 1, "A": 2, "D": 3}
OPPOSITE = {"W": "S", "S": "W", "A": "D", "D": "A"}
LOOP_FRAMES = 96
HOLD_FRAMES = (5, 13)
YAW_UNITS = (0.1, 0.15, 0.2)
ESCAPE_YAW_UNITS = (0.2, 0.25, 0.3)
SIDESTEP_SHARE = 0.3
MAX_YAW_UNITS = 0.5


@dataclass(frozen=True)
class Move:
    """What is held in a frame: keys, and mouse units of pitch and yaw."""

    keys: str = ""
    yaw: float = 0.0
    pitch: float = 0.0

    def reversed(self) -> Move:
        """Return the move that undoes this one."""
        return Move("".join(OPPOSITE[key] for key in self.keys), -self.yaw, -self.pitch)

    def keyboard(self) -> SingleArray:
        """Return the keys as a row of `Actions.keyboard`."""
        row = np.zeros(NUM_KEYS, np.float32)
        row[[KEYS[key] for key in self.keys]] = 1
        return row


class Surroundings(Protocol):
    """What the agent knows of where it stands."""

    def is_blocked(self, move: Move) -> bool:
        """Tell whether a move would run into something."""
        ...

    def open_side(self) -> int:
        """Return +1 where there is more room to the right, -1 to the left."""
        ...


def choose_trajectory(generator: np.random.Generator) -> Trajectory:
    """Draw a kind of path by its share."""
    index = int(generator.choice(len(TRAJECTORIES), p=TRAJECTORY_SHARES))
    return TRAJECTORIES[index]


class Explorer:
    """Draws moves, and turns away from what is in the way.

    Args:
        generator: Every draw comes from it.
        pitch_share: The share of held moves that look up or down.
        bump_share: The chance to keep pushing against what blocks, so that walls are learnt.
        is_steady: Only walk ahead, and turn where the way ends.
    """

    def __init__(
        self,
        generator: np.random.Generator,
        *,
        pitch_share: float = 0.0,
        bump_share: float = 0.0,
        is_steady: bool = False,
    ) -> None:
        """Begin with nothing held."""
        self._generator = generator
        self._is_steady = is_steady
        self._pitch_share = pitch_share
        self._bump_share = bump_share
        self._held = Move()
        self._left = 0
        self._is_bumping = False
        self._escape_side = 0

    def next_move(self, around: Surroundings) -> Move:
        """Return the move of the next frame."""
        if self._left == 0:
            self._hold(self._draw())
            self._is_bumping = self._generator.random() < self._bump_share
        if around.is_blocked(self._held) and not self._is_bumping:
            self._hold(self._way_out(around))
        elif "W" in self._held.keys:
            self._escape_side = 0
        self._left -= 1
        return self._held

    def _hold(self, move: Move) -> None:
        self._held = move
        self._left = int(self._generator.integers(*HOLD_FRAMES))

    def _draw(self) -> Move:
        if self._is_steady:
            return Move("W")
        kinds = ("W", "W", "W", "W+turn", "W+turn", "turn", "turn", "A", "D", "S", "WA", "WD", "")
        shares = np.array([1.3, 1.3, 1.3, 1.2, 1.2, 0.9, 0.9, 0.9, 0.9, 0.6, 0.25, 0.25, 0.15])
        if self._generator.random() < self._pitch_share:
            return Move("", 0.0, float(self._generator.choice((-0.1, 0.1))))
        kind = kinds[int(self._generator.choice(len(kinds), p=shares / shares.sum()))]
        size = float(self._generator.choice(YAW_UNITS) * self._generator.choice((-1.0, 1.0)))
        yaw = size if kind.endswith("turn") else 0.0
        return Move(kind.removesuffix("turn").removesuffix("+"), yaw)

    def _way_out(self, around: Surroundings) -> Move:
        """Sidestep, or turn to the open side and keep to that side until the way is free."""
        if not self._is_steady and self._generator.random() < SIDESTEP_SHARE:
            for key in self._generator.permutation(["A", "D", "S"]):
                if not around.is_blocked(Move(str(key))):
                    return Move(str(key))
        self._escape_side = self._escape_side or around.open_side()
        return Move("", self._escape_side * float(self._generator.choice(ESCAPE_YAW_UNITS)))


def loop_moves(num_actions: int, turn_degrees_per_unit: float, variant: int) -> Iterator[Move]:
    """Yield a closed square: four sides with quarter turns, or four keys without turning.

    Args:
        num_actions: The moves to yield; the square is repeated, then the agent stands.
        turn_degrees_per_unit: `Kinematics.turn_degrees_per_unit`.
        variant: Bit 0: clockwise or not; bit 1: sidestepping instead of turning, which is also
            how a path too short for gentle turns is walked.
    """
    laps = max(1, round(num_actions / LOOP_FRAMES))
    side = num_actions // laps // 4
    sign = 1 if variant & 1 else -1
    moves: list[Move] = []
    turning = max(1, side * 5 // 8)
    units = sign * 90 / turn_degrees_per_unit / turning
    if variant & 2 or abs(units) > MAX_YAW_UNITS:
        order = "WDSA" if sign > 0 else "WASD"
        half = max(1, side // 2)
        moves = [Move(key) for key in order for _ in range(half)] * 2
    else:
        moves = ([Move("W")] * (side - turning) + [Move("", units)] * turning) * 4
    moves *= laps
    yield from (moves + [Move()] * num_actions)[:num_actions]


def spin_moves(num_actions: int, turn_degrees_per_unit: float, sign: int) -> Iterator[Move]:
    """Yield whole turns on the spot, one for each `LOOP_FRAMES` moves or so.

    A path too short for a whole gentle turn ends before it.
    """
    turns = max(1, round(num_actions / LOOP_FRAMES))
    units = sign * 360 * turns / turn_degrees_per_unit / max(1, num_actions)
    units = float(np.clip(units, -MAX_YAW_UNITS, MAX_YAW_UNITS))
    yield from [Move("", units)] * num_actions


def displacement(move: Move, yaw: float, kinematics: Kinematics) -> tuple[float, float]:
    """Return the metres (x, z) that a move's keys ask for, at a yaw in radians.

    Along the mean of the old and the new yaw, as `camera.integrate_poses`.
    """
    keys = move.keyboard()
    forward, right = float(keys[0] - keys[1]), float(keys[3] - keys[2])
    mean = yaw + np.radians(kinematics.turn_degrees_per_unit) * move.yaw / 2
    step = kinematics.speed_metres / max(1.0, float(np.hypot(forward, right)))
    sine, cosine = float(np.sin(mean)), float(np.cos(mean))
    return step * (forward * sine + right * cosine), step * (forward * cosine - right * sine)
