"""Clips of the procedural world: an agent walks it, the renderer looks on.

Kinematics are `camera.Kinematics` with collision: a step into a wall does not happen, and poses
are recorded as they came about. A world's seed decides its split: train and test worlds come from
disjoint ranges. It does not know filters, prompts' wording beyond a plain one, or storage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from worldloom.arrays import ByteArray, FloatArray
from worldloom.camera import Intrinsics, Kinematics, pose_matrix
from worldloom.config import Config
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
from worldloom.data.sources.procedural_world import CELL_METRES, World, world_from_seed
from worldloom.data.sources.raycast import render_poses
from worldloom.frames import TEMPORAL_STRIDE

__all__ = [
    "ProceduralConfig",
    "World",
    "capture_clip",
    "render",
    "world_from_seed",
    "world_seed",
]

TEST_SEED_OFFSET = 1_000_000_000
LOOP_ATTEMPTS = 200
SIDE_RADIANS = 1.0
SIGHT_STEPS = 16
SIGHT_METRES = 0.5
NEAR_METRES = 1.5


class ProceduralConfig(Config):
    """How the procedural world is recorded."""

    height: int = Field(64, gt=0, description="frame height, pixels")
    width: int = Field(64, gt=0, description="frame width, pixels")
    horizontal_fov_degrees: float = Field(90.0, gt=0, lt=180, description="field of view, degrees")
    kinematics: Kinematics = Field(Kinematics(), description="what an action moves")
    supersample: int = Field(2, ge=1, le=4, description="rays a pixel along each side")
    radius_metres: float = Field(0.45, gt=0, lt=CELL_METRES / 2, description="player's radius, m")
    pitch_share: float = Field(
        0.06, ge=0, le=1, description="share of held moves that look up/down"
    )
    max_pitch_degrees: float = Field(20.0, ge=0, lt=90, description="highest pitch, degrees")

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera of the frames."""
        return Intrinsics.from_fov(self.height, self.width, self.horizontal_fov_degrees)


def world_seed(seed: int, split: Split) -> int:
    """Return the seed of the world that a clip's seed stands for in a split."""
    if not 0 <= seed < TEST_SEED_OFFSET:
        message = f"seed={seed}: expected 0 <= seed < {TEST_SEED_OFFSET}"
        raise ValueError(message)
    return seed + TEST_SEED_OFFSET if split == "test" else seed


def render(world: World, pose: FloatArray, config: ProceduralConfig | None = None) -> ByteArray:
    """Render what a camera at a c2w pose [4, 4] sees: uint8 [H, W, 3], the ground truth."""
    config = config or ProceduralConfig()
    return np.asarray(_render(world, pose[None], config)[0], np.uint8)


def capture_clip(
    config: ProceduralConfig,
    *,
    seed: int,
    split: Split,
    num_frames: int,
    trajectory: Trajectory | None = None,
) -> Clip:
    """Record one clip; the same arguments give the same bytes.

    Args:
        config: Camera and kinematics.
        seed: Which world of the split, and everything the agent draws.
        split: Train and test worlds differ.
        num_frames: 4n+1.
        trajectory: The kind of path; drawn by share if None.
    """
    if num_frames < 1 or (num_frames - 1) % TEMPORAL_STRIDE:
        message = f"num_frames={num_frames}: expected 4n+1 frames"
        raise ValueError(message)
    number = world_seed(seed, split)
    world = world_from_seed(number)
    generator = np.random.default_rng([0x77616C6B, number])
    drawn = choose_trajectory(generator)
    kind = trajectory or drawn
    walk = _Walk(world, config, generator)
    walk.follow(kind, num_frames - 1)
    poses = walk.poses()
    return Clip(
        clip_id=f"procedural-{split}-{seed:09d}-{kind}",
        source="procedural",
        world=str(number),
        split=split,
        trajectory=kind,
        prompt=f"a maze of patterned walls, {world.floor_name} floor tiles and coloured pillars",
        frames=_render(world, poses, config),
        poses_c2w=poses.astype(np.float32),
        intrinsics=config.intrinsics,
        keyboard=np.stack([np.zeros(6, np.float32), *(m.keyboard() for m in walk.moves)]),
        mouse=np.array([(0, 0), *((m.pitch, m.yaw) for m in walk.moves)], np.float32) + 0.0,
    )


def _render(world: World, poses: FloatArray, config: ProceduralConfig) -> ByteArray:
    return render_poses(
        world,
        poses,
        config.intrinsics,
        config.height,
        config.width,
        supersample=config.supersample,
    )


class _Walk:
    """A walk through one world: states (x, z, yaw, pitch) and the moves between them."""

    def __init__(
        self, world: World, config: ProceduralConfig, generator: np.random.Generator
    ) -> None:
        self._world = world
        self._config = config
        self._generator = generator
        self.moves: list[Move] = []
        self.states: list[tuple[float, float, float, float]] = [self._spot()]

    def poses(self) -> FloatArray:
        """Return the c2w pose of every frame."""
        return np.stack(
            [pose_matrix(np.array([x, 0.0, z]), yaw, pitch) for x, z, yaw, pitch in self.states]
        )

    def follow(self, trajectory: Trajectory, num_actions: int) -> None:
        """Walk a whole path."""
        if trajectory == "palindrome":
            self._explore(num_actions - num_actions // 2, bump_share=0.0)
            self._retrace(num_actions // 2)
        elif trajectory == "free":
            self._explore(num_actions, bump_share=0.15)
        elif trajectory == "spin":
            sign = int(self._generator.choice((-1, 1)))
            self._play(spin_moves(num_actions, self._turn, sign))
        elif trajectory == "forward":
            self._explore(num_actions, bump_share=0.0, is_steady=True)
        elif trajectory == "still":
            moving = min(STILL_AFTER_FRAMES, num_actions)
            self._explore(moving, bump_share=0.0)
            self._play(iter([Move()] * (num_actions - moving)))
        elif trajectory == "laps":
            self._laps(num_actions)
        else:
            self._loop(num_actions)

    def _laps(self, num_actions: int) -> None:
        lap = min(LAP_FRAMES, num_actions // 2)
        self._explore(lap, bump_share=0.0)
        while (left := num_actions - len(self.moves)) > 0:
            self._retrace(min(lap, left))

    @property
    def _turn(self) -> float:
        return self._config.kinematics.turn_degrees_per_unit

    def _spot(self) -> tuple[float, float, float, float]:
        free = np.argwhere(~self._world.walls)
        while True:
            cell = free[int(self._generator.integers(len(free)))]
            x, z = (float(v) for v in (cell + self._generator.uniform(0.25, 0.75, 2)) * CELL_METRES)
            if self._world.is_free(x, z, self._config.radius_metres + 0.2):
                return x, z, float(self._generator.uniform(-np.pi, np.pi)), 0.0

    def _target(self, move: Move) -> tuple[float, float]:
        x, z, yaw, _ = self.states[-1]
        step_x, step_z = displacement(move, yaw, self._config.kinematics)
        return x + step_x, z + step_z

    def is_blocked(self, move: Move) -> bool:
        """Tell whether the agent had better not: a collision, a wall close ahead, a stiff neck."""
        if "W" in move.keys and self._sight(0.0) * SIGHT_METRES < NEAR_METRES:
            return True
        return self._collides(move)

    def _collides(self, move: Move) -> bool:
        pitch = self.states[-1][3] + np.radians(self._turn) * move.pitch
        if abs(pitch) > np.radians(self._config.max_pitch_degrees):
            return True
        x, z = self._target(move)
        return bool(move.keys) and not self._world.is_free(x, z, self._config.radius_metres)

    def open_side(self) -> int:
        """Return the side (+1 right) on which a line of sight reaches farther."""
        return 1 if self._sight(SIDE_RADIANS) >= self._sight(-SIDE_RADIANS) else -1

    def _sight(self, bearing: float) -> int:
        """Return how many steps of `SIGHT_METRES` are free in a direction."""
        x, z, yaw, _ = self.states[-1]
        sine, cosine = float(np.sin(yaw + bearing)), float(np.cos(yaw + bearing))
        for step in range(1, SIGHT_STEPS):
            reach = step * SIGHT_METRES
            if not self._world.is_free(x + reach * sine, z + reach * cosine, 0.1):
                return step - 1
        return SIGHT_STEPS

    def _take(self, move: Move) -> None:
        x, z, yaw, pitch = self.states[-1]
        if not self._collides(move):
            x, z = self._target(move)
        turn = float(np.radians(self._turn))
        self.states.append((x, z, yaw + turn * move.yaw, pitch + turn * move.pitch))
        self.moves.append(move)

    def _play(self, moves: Iterator[Move]) -> None:
        for move in moves:
            self._take(move)

    def _explore(self, num_actions: int, bump_share: float, *, is_steady: bool = False) -> None:
        explorer = Explorer(
            self._generator,
            pitch_share=self._config.pitch_share,
            bump_share=bump_share,
            is_steady=is_steady,
        )
        for _ in range(num_actions):
            self._take(explorer.next_move(self))

    def _retrace(self, num_actions: int) -> None:
        """Undo the last moves; states are mirrored exactly, not integrated again."""
        back = self.states[-1 - num_actions : -1][::-1]
        undo = [move.reversed() for move in self.moves[len(self.moves) - num_actions :][::-1]]
        self.states += back
        self.moves += undo

    def _loop(self, num_actions: int) -> None:
        """Walk a square from the first spot where nothing is in its way, else where we stand."""
        for _ in range(LOOP_ATTEMPTS):
            variant = int(self._generator.integers(4))
            free = True
            for move in loop_moves(num_actions, self._turn, variant):
                free = free and not self._collides(move)
                self._take(move)
            if free:
                return
            self.states, self.moves = [self._spot()], []
        self._play(loop_moves(num_actions, self._turn, variant=0))
