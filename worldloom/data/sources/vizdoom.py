"""Clips of Freedoom's maps: the agent walks them in the ViZDoom engine.

Poses and yaw rates are read back from the engine, one metre to `UNITS_PER_METRE` map units, so
they are what happened: a mouse unit turns exactly `turn_degrees_per_unit`. Walks begin at a random
place of the map that has room. It does not know filters, prompts' wording beyond a plain one, or
storage.
"""

from __future__ import annotations

import numpy as np

from worldloom.data.schema import Clip, Split
from worldloom.data.sources.agent import (
    LAP_FRAMES,
    STILL_AFTER_FRAMES,
    Explorer,
    Move,
    Trajectory,
    choose_trajectory,
    displacement,
    loop_moves,
    spin_moves,
)
from worldloom.data.sources.doom_engine import (
    UNITS_PER_METRE,
    DoomEngine,
    DoomState,
    WalkInterruptedError,
)
from worldloom.data.sources.vizdoom_config import VizdoomConfig
from worldloom.errors import DataError
from worldloom.frames import TEMPORAL_STRIDE

__all__ = ["DoomEngine", "VizdoomConfig", "capture_clip"]

TELEPORT_METRES = 3.0
ATTEMPTS = 16
ARRIVED_METRES = 0.5
WANDER_FRAMES = (8, 20)
WANDER_METRES = 0.75
HEADINGS = 8
SPOT_ATTEMPTS = 6
NEAR_METRES = 1.6
ROOMY_METRES = 5.0


def capture_clip(
    config: VizdoomConfig,
    *,
    map_name: str,
    seed: int,
    split: Split,
    num_frames: int,
    trajectory: Trajectory | None = None,
    engine: DoomEngine | None = None,
) -> Clip:
    """Record one clip; the same arguments give the same bytes.

    Args:
        config: Maps, camera and kinematics.
        map_name: A map of the split.
        seed: Where it starts and everything the agent draws.
        split: Train and test maps differ.
        num_frames: 4n+1.
        trajectory: The kind of path; drawn by share if None.
        engine: One to reuse; else one is started and ended.

    Raises:
        DataError: when the map cannot be started, or no walk on it can be finished.
    """
    if num_frames < 1 or (num_frames - 1) % TEMPORAL_STRIDE:
        message = f"num_frames={num_frames}: expected 4n+1 frames"
        raise ValueError(message)
    if map_name not in config.maps(split):
        message = f"map {map_name!r}: expected one of the {split} maps {config.maps(split)}"
        raise DataError(message)
    if engine is None:
        with DoomEngine(config) as own_engine:
            return _capture(own_engine, config, map_name, seed, split, num_frames, trajectory)
    return _capture(engine, config, map_name, seed, split, num_frames, trajectory)


def _capture(
    engine: DoomEngine,
    config: VizdoomConfig,
    map_name: str,
    seed: int,
    split: Split,
    num_frames: int,
    trajectory: Trajectory | None,
) -> Clip:
    for attempt in range(ATTEMPTS):
        generator = np.random.default_rng([0x646F6F6D, seed, *map_name.encode(), attempt])
        kind = trajectory or choose_trajectory(generator)
        try:
            engine.begin(map_name, int(generator.integers(2**31)))
            walk = _Walk(engine, config, generator)
            walk.follow(kind, num_frames - 1)
        except WalkInterruptedError:
            continue
        return walk.clip(map_name, seed, split)
    message = f"map {map_name!r}, seed {seed}: {ATTEMPTS} walks were cut short, expected one whole"
    raise DataError(message)


class _Walk:
    """One recorded walk: states, frames and the moves between them."""

    def __init__(
        self, engine: DoomEngine, config: VizdoomConfig, generator: np.random.Generator
    ) -> None:
        self._engine = engine
        self._config = config
        self._generator = generator
        self._turn = config.kinematics.turn_degrees_per_unit
        self._progress = 1.0
        self.trajectory = "free"
        self.moves: list[Move] = []
        self._go_somewhere()
        self.states = [engine.state()]
        self.frames = [engine.frame()]

    def follow(self, trajectory: Trajectory, num_actions: int) -> None:
        """Walk a whole path; a path that the map does not allow counts as free."""
        self.trajectory = trajectory
        if trajectory == "palindrome":
            self._explore(num_actions - num_actions // 2)
            self._retrace(num_actions // 2)
        elif trajectory == "spin":
            sign = int(self._generator.choice((-1, 1)))
            for move in spin_moves(num_actions, self._turn, sign):
                self._take(move)
        elif trajectory == "loop":
            for move in loop_moves(num_actions, self._turn, int(self._generator.integers(4))):
                self._take(move)
            if self.states[-1].distance_to(self.states[0]) > ARRIVED_METRES:
                self.trajectory = "free"
        elif trajectory == "still":
            moving = min(STILL_AFTER_FRAMES, num_actions)
            self._explore(moving)
            for _ in range(num_actions - moving):
                self._take(Move())
        elif trajectory == "laps":
            self._laps(num_actions)
        else:
            self._explore(num_actions, is_steady=trajectory == "forward")

    def _laps(self, num_actions: int) -> None:
        lap = min(LAP_FRAMES, num_actions // 2)
        self._explore(lap)
        while (left := num_actions - len(self.moves)) > 0:
            if self.trajectory == "free":  # the way was lost on an earlier lap
                self._explore(left)
            else:
                self._retrace(min(lap, left))

    def clip(self, map_name: str, seed: int, split: Split) -> Clip:
        """Return what was recorded; yaw rates are those that the engine really turned."""
        angles = np.array([state.angle for state in self.states])
        turned = (angles[:-1] - angles[1:] + 180) % 360 - 180
        mouse = np.zeros((len(self.states), 2), np.float32)
        mouse[1:, 1] = turned / self._turn
        return Clip(
            clip_id=f"vizdoom-{split}-{map_name.lower()}-{seed:09d}-{self.trajectory}",
            source="vizdoom",
            world=map_name,
            split=split,
            trajectory=self.trajectory,
            prompt="a dim base of metal and stone halls, seen by a person walking",
            frames=np.stack(self.frames),
            poses_c2w=np.stack([state.pose() for state in self.states]).astype(np.float32),
            intrinsics=self._config.intrinsics,
            keyboard=np.stack([np.zeros(6, np.float32), *(m.keyboard() for m in self.moves)]),
            mouse=mouse,
        )

    def _go_somewhere(self) -> None:
        """Go to a random place of the map with some room, unrecorded, and look at the room."""
        spots = self._engine.pickup_spots()
        for index in self._generator.permutation(len(spots))[:SPOT_ATTEMPTS]:
            if self._engine.warp(*spots[index]) and self._face_room() and self._wander():
                break
        else:
            self._wander()
        self.moves = []

    def _wander(self) -> bool:
        """Walk a little, unrecorded, and stop; tell whether the place lets one move."""
        self.states, self.moves, self.frames = [self._engine.state()], [], []
        self._take(Move("", float(self._generator.uniform(-30, 30)) / self._turn))
        self._explore(int(self._generator.integers(*WANDER_FRAMES)))
        self._take(Move())
        return max(state.distance_to(self.states[0]) for state in self.states) > WANDER_METRES

    def _face_room(self) -> bool:
        """Turn to where one sees far (drawn by distance); tell whether one does at all."""
        room = []
        for _ in range(HEADINGS):
            self._engine.turn(360 / HEADINGS)
            room.append(float(np.median(self._engine.sight()[8:24])))
        weights = np.array(room) ** 2 + 1e-3
        heading = int(self._generator.choice(HEADINGS, p=weights / weights.sum()))
        self._engine.turn((heading + 1) * 360 / HEADINGS)
        return max(room) > ROOMY_METRES

    def _take(self, move: Move, target: tuple[float, float] | None = None) -> None:
        """Play a frame; `target` in map units overrides what the keys ask for."""
        before = self.states[-1]
        east, south = self._step(move, before)
        goal = target or (before.x + east, before.y - south)
        state = self._engine.advance(goal, move.yaw * self._turn)
        moved = state.distance_to(before)
        if moved > TELEPORT_METRES:
            raise WalkInterruptedError
        self._progress = moved / self._config.kinematics.speed_metres if move.keys else 1.0
        self.states.append(state)
        self.moves.append(move)
        self.frames.append(self._engine.frame())

    def _step(self, move: Move, state: DoomState) -> tuple[float, float]:
        """Return the map units east and south that a move asks for."""
        yaw = -float(np.radians(state.angle))
        right, forward = displacement(move, yaw, self._config.kinematics)
        return forward * UNITS_PER_METRE, right * UNITS_PER_METRE

    def _explore(self, num_actions: int, *, is_steady: bool = False) -> None:
        bump_share = 0.0 if is_steady else 0.05
        explorer = Explorer(self._generator, bump_share=bump_share, is_steady=is_steady)
        for _ in range(num_actions):
            self._take(explorer.next_move(self))

    def is_blocked(self, move: Move) -> bool:
        """Tell whether something stands close ahead, or these keys just moved hardly anything."""
        if "W" in move.keys and float(self._engine.sight()[13:19].min()) < NEAR_METRES:
            return True
        return bool(
            move.keys and self.moves and self.moves[-1].keys == move.keys and self._progress < 0.4
        )

    def open_side(self) -> int:
        """Return the side (+1 right) on which one sees farther."""
        sight = self._engine.sight()
        return 1 if sight[16:].mean() >= sight[:16].mean() else -1

    def _retrace(self, num_actions: int) -> None:
        """Walk back the way we came; where the map does not allow it, explore on."""
        back = self.states[-1 - num_actions : -1][::-1]
        undo = [move.reversed() for move in self.moves[len(self.moves) - num_actions :][::-1]]
        for index, (goal, move) in enumerate(zip(back, undo, strict=True)):
            self._take(move, (goal.x, goal.y))
            if self.states[-1].distance_to(goal) > ARRIVED_METRES:
                self.trajectory = "free"
                self._explore(num_actions - index - 1)
                return
