"""Clips of Freedoom's maps, recorded in the ViZDoom engine.

The agent of `agent.py` walks; movement is the engine's own (thrust, friction, collision, stairs),
steered so that a held key moves `Kinematics.speed_metres` a frame and a mouse unit turns exactly
`turn_degrees_per_unit`. Poses are read back from the engine, one metre to `UNITS_PER_METRE` map
units. The engine shears the picture to look up and down, which no pinhole camera does, so nobody
looks up here: pitch is always zero. It does not know filters, prompts' wording beyond a plain one,
or storage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import vizdoom
from numpy.typing import NDArray
from pydantic import Field

from worldloom.camera import Intrinsics, Kinematics, pose_matrix
from worldloom.config import Config
from worldloom.data.schema import Clip, Split
from worldloom.data.sources.agent import (
    Explorer,
    Move,
    Trajectory,
    choose_trajectory,
    displacement,
    loop_moves,
    spin_moves,
)
from worldloom.errors import DataError
from worldloom.frames import TEMPORAL_STRIDE

UNITS_PER_METRE = 32.0
SCREEN_WIDTH, SCREEN_HEIGHT = 320, 240
SCREEN_FOV_DEGREES = 116
PIXEL_ASPECT = 1.2
THRUST_PER_UNIT = 1 / 32
MAX_THRUST = 50
EYE_UNITS = 41.0
SETTLE_TICS = 35
TELEPORT_METRES = 3.0
ATTEMPTS = 16
ARRIVED_METRES = 0.5
WARM_UP_FRAMES = 16
HEADINGS = 8
SPOT_ATTEMPTS = 6
DEPTH_STEPS_PER_METRE = 4.0
NEAR_METRES = 1.6
ROOMY_METRES = 5.0

Bytes = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

_BUTTONS = [
    vizdoom.Button.MOVE_FORWARD_BACKWARD_DELTA,
    vizdoom.Button.MOVE_LEFT_RIGHT_DELTA,
    vizdoom.Button.TURN_LEFT_RIGHT_DELTA,
]
_VARIABLES = [
    vizdoom.GameVariable.CAMERA_POSITION_X,
    vizdoom.GameVariable.CAMERA_POSITION_Y,
    vizdoom.GameVariable.CAMERA_POSITION_Z,
    vizdoom.GameVariable.CAMERA_ANGLE,
    vizdoom.GameVariable.VELOCITY_X,
    vizdoom.GameVariable.VELOCITY_Y,
    vizdoom.GameVariable.VIEW_HEIGHT,
    vizdoom.GameVariable.ON_GROUND,
]
_PICKUPS = frozenset(
    "Stimpack Medikit HealthBonus ArmorBonus GreenArmor BlueArmor Clip ClipBox Shell ShellBox"
    " RocketAmmo RocketBox Cell CellPack Shotgun SuperShotgun Chaingun RocketLauncher PlasmaRifle"
    " Backpack Soulsphere Berserk".split()
)


class VizdoomConfig(Config):
    """How Freedoom's maps are recorded."""

    train_maps: tuple[str, ...] = Field(
        ("MAP01", "MAP02", "MAP04", "MAP05", "MAP06", "MAP07", "MAP09", "MAP10", "MAP11", "MAP13"),
        min_length=1,
        description="maps of freedoom2.wad to learn from",
    )
    test_maps: tuple[str, ...] = Field(
        ("MAP03", "MAP08", "MAP12", "MAP14"),
        min_length=1,
        description="maps of freedoom2.wad never learnt from",
    )
    height: int = Field(64, gt=0, description="frame height, pixels; at most the width")
    width: int = Field(64, gt=0, description="frame width, pixels")
    gamma: float = Field(1.6, gt=0, description="brightening of the engine's dim picture")
    tics_per_frame: int = Field(2, ge=1, description="engine tics (1/35 s) a frame")
    kinematics: Kinematics = Field(Kinematics(), description="what an action moves")

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera of the frames: 90 degrees across."""
        return Intrinsics.from_fov(self.height, self.width)

    def maps(self, split: Split) -> tuple[str, ...]:
        """Return the maps of a split."""
        return self.train_maps if split == "train" else self.test_maps


@dataclass(frozen=True)
class _State:
    """The camera after a tic: map units, degrees counter-clockwise, units a tic."""

    x: float
    y: float
    eye_z: float
    angle: float
    velocity_x: float
    velocity_y: float

    def pose(self) -> FloatArray:
        """Return the c2w pose: the map's east is +z, its south +x."""
        position = np.array([-self.y, -self.eye_z, self.x]) / UNITS_PER_METRE
        return pose_matrix(position, -float(np.radians(self.angle)), 0.0)

    def distance_to(self, other: _State) -> float:
        """Return the metres between two states on the floor plan."""
        return float(np.hypot(self.x - other.x, self.y - other.y)) / UNITS_PER_METRE


class DoomEngine:
    """One engine process; enter it, then `begin` an episode and `advance` frame by frame."""

    def __init__(self, config: VizdoomConfig) -> None:
        """Prepare an engine; nothing is started."""
        self._config = config
        self._scratch = tempfile.TemporaryDirectory(prefix="worldloom-vizdoom-")
        self._game = self._configured_game()
        self._is_running = False
        self._brightness = 255 * (np.arange(256) / 255) ** (1 / config.gamma)
        half = SCREEN_WIDTH / 2 / np.tan(np.radians(SCREEN_FOV_DEGREES) / 2)
        self._crop_columns = round(half)
        self._crop_rows = round(half * PIXEL_ASPECT * config.height / config.width)
        if self._crop_rows > SCREEN_HEIGHT // 2:
            message = f"height={config.height}: expected at most the width ({config.width})"
            raise ValueError(message)

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the engine's process."""
        self.close()

    def close(self) -> None:
        """End the engine's process and remove its files."""
        self._game.close()
        self._is_running = False
        self._scratch.cleanup()

    def begin(self, map_name: str, seed: int) -> None:
        """Start a map from its beginning, with every random number of the engine from `seed`."""
        self._game.set_doom_map(map_name)
        self._game.set_seed(seed % 2**31)
        try:
            if self._is_running:
                self._game.new_episode()
            else:
                self._game.init()
                self._is_running = True
        except (vizdoom.ViZDoomErrorException, vizdoom.ViZDoomUnexpectedExitException) as error:
            message = f"ViZDoom cannot start map {map_name!r}: {error}"
            raise DataError(message) from error
        for command in ("god", "notarget", f"fov {SCREEN_FOV_DEGREES}"):
            self._game.send_game_command(command)
        self.wait(SETTLE_TICS)

    def wait(self, tics: int) -> None:
        """Let time pass."""
        for _ in range(tics):
            self._act(0, 0, 0)

    def pickup_spots(self) -> list[tuple[float, float]]:
        """Return where things to pick up lie: places that a player can stand in."""
        state = self._game.get_state()
        return sorted({(o.position_x, o.position_y) for o in state.objects if o.name in _PICKUPS})

    def warp(self, x: float, y: float) -> bool:
        """Put the player somewhere; tell whether it came to stand there."""
        self._game.send_game_command(f"warp {x} {y}")
        for _ in range(SETTLE_TICS):
            self._act(0, 0, 0)
        variables = self._variables()
        state = self.state()
        is_near = np.hypot(state.x - x, state.y - y) < 1
        return bool(is_near and abs(variables[6] - EYE_UNITS) < 1 and variables[7] > 0)

    def state(self) -> _State:
        """Return the camera as it stands."""
        x, y, z, angle, velocity_x, velocity_y, _, _ = self._variables()
        return _State(x, y, z, angle, velocity_x, velocity_y)

    def frame(self) -> Bytes:
        """Return the picture [H, W, 3]: square pixels, 90 degrees across, by area averaging."""
        screen = self._game.get_state().screen_buffer
        rows = slice(SCREEN_HEIGHT // 2 - self._crop_rows, SCREEN_HEIGHT // 2 + self._crop_rows)
        columns = slice(
            SCREEN_WIDTH // 2 - self._crop_columns, SCREEN_WIDTH // 2 + self._crop_columns
        )
        size = (self._config.width, self._config.height)
        picture = cv2.resize(screen[rows, columns], size, interpolation=cv2.INTER_AREA)
        return np.asarray(self._brightness[picture], np.uint8)

    def sight(self) -> FloatArray:
        """Return about how many metres one sees at eye height, from left to right."""
        middle = slice(SCREEN_HEIGHT // 2 - 16, SCREEN_HEIGHT // 2 + 8)
        depth = self._game.get_state().depth_buffer[middle].min(axis=0)
        columns = depth.reshape(-1, SCREEN_WIDTH // 32).mean(axis=1)
        return np.asarray(columns / DEPTH_STEPS_PER_METRE, np.float64)

    def turn(self, degrees: float) -> None:
        """Turn right at once."""
        self._act(0, 0, degrees)

    def advance(self, target: tuple[float, float], turn_degrees: float) -> _State:
        """Play one frame: turn right by `turn_degrees` and steer for a point in map units.

        Raises:
            _InterruptedError: when the map ends.
        """
        tics = self._config.tics_per_frame
        limit = 1.25 * self._config.kinematics.speed_metres * UNITS_PER_METRE / tics
        for tic in range(tics):
            state = self.state()
            wanted = np.array([target[0] - state.x, target[1] - state.y]) / (tics - tic)
            length = float(np.hypot(*wanted))
            wanted *= min(1.0, limit / length) if length else 1.0
            thrust = wanted - (state.velocity_x, state.velocity_y)
            angle = np.radians(state.angle - turn_degrees / tics)
            forward = thrust[0] * np.cos(angle) + thrust[1] * np.sin(angle)
            right = thrust[0] * np.sin(angle) - thrust[1] * np.cos(angle)
            self._act(float(forward), float(right), turn_degrees / tics)
        return self.state()

    def _act(self, forward: float, right: float, turn_degrees: float) -> None:
        keys = np.clip(
            np.round(np.array([forward, right]) / THRUST_PER_UNIT), -MAX_THRUST, MAX_THRUST
        )
        self._game.make_action([float(keys[0]), float(keys[1]), turn_degrees], 1)
        if self._game.is_episode_finished() or self._game.is_player_dead():
            raise _InterruptedError

    def _variables(self) -> FloatArray:
        return np.asarray(self._game.get_state().game_variables, np.float64)

    def _configured_game(self) -> vizdoom.DoomGame:
        game = vizdoom.DoomGame()
        engine_folder = Path(vizdoom.__file__).parent
        game.set_doom_game_path(str(engine_folder / "freedoom2.wad"))
        game.set_doom_config_path(str(Path(self._scratch.name) / "engine.ini"))
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_objects_info_enabled(True)
        game.set_depth_buffer_enabled(True)
        for switch in _hidden_things(game):
            switch(False)
        game.set_available_buttons(_BUTTONS)
        game.set_available_game_variables(_VARIABLES)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.add_game_args("-nomonsters +movebob 0 +sv_cheats 1")
        return game


class _InterruptedError(Exception):
    """The walk cannot go on: the map ended, or something moved the player far at once."""


def _hidden_things(game: vizdoom.DoomGame) -> list[Callable[[bool], None]]:
    return [
        game.set_render_hud,
        game.set_render_minimal_hud,
        game.set_render_crosshair,
        game.set_render_weapon,
        game.set_render_decals,
        game.set_render_particles,
        game.set_render_effects_sprites,
        game.set_render_messages,
        game.set_render_corpses,
        game.set_render_screen_flashes,
    ]


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
        except _InterruptedError:
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
        else:
            self._explore(num_actions)

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
        order = self._generator.permutation(len(spots))[:SPOT_ATTEMPTS]
        for index in order:
            if self._engine.warp(*spots[index]) and self._face_room():
                break
        self.states, self.frames = [self._engine.state()], []
        self._take(Move("", float(self._generator.uniform(-30, 30)) / self._turn))
        self._explore(int(self._generator.integers(1, WARM_UP_FRAMES)))
        self._take(Move())
        self.moves = []

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
            raise _InterruptedError
        self._progress = moved / self._config.kinematics.speed_metres if move.keys else 1.0
        self.states.append(state)
        self.moves.append(move)
        self.frames.append(self._engine.frame())

    def _step(self, move: Move, state: _State) -> tuple[float, float]:
        """Return the map units east and south that a move asks for."""
        yaw = -float(np.radians(state.angle))
        right, forward = displacement(move, yaw, self._config.kinematics)
        return forward * UNITS_PER_METRE, right * UNITS_PER_METRE

    def _explore(self, num_actions: int) -> None:
        explorer = Explorer(self._generator, bump_share=0.05)
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
