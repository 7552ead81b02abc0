"""ViZDoom's engine on Freedoom's maps, frame by frame: exact poses, pinhole pictures, steering.

Movement is the engine's own (thrust, friction, collision, stairs), steered so that a frame ends
`Kinematics.speed_metres` on where nothing is in the way. The engine's pixels are `PIXEL_ASPECT`
times as tall as wide in angle and its picture is sheared to look up and down, which no pinhole
camera does: a frame is a crop with square pixels, and pitch is always zero. It does not know the
agent or clips.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import vizdoom

from worldloom.arrays import ByteArray, FloatArray
from worldloom.camera import pose_matrix
from worldloom.data.sources.vizdoom_config import VizdoomConfig
from worldloom.errors import DataError

UNITS_PER_METRE = 32.0
SCREEN_WIDTH, SCREEN_HEIGHT = 320, 240
SCREEN_FOV_DEGREES = 116
PIXEL_ASPECT = 1.2
THRUST_PER_KEY = 1 / 32
MAX_KEY = 50
FRICTION = 0.90625
EYE_UNITS = 41.0
BEGIN_TICS = 10
WARP_TICS = 4
DEPTH_STEPS_PER_METRE = 4.0


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
    (
        *("Stimpack", "Medikit", "HealthBonus", "Soulsphere", "Berserk", "Backpack"),
        *("ArmorBonus", "GreenArmor", "BlueArmor"),
        *("Clip", "ClipBox", "Shell", "ShellBox", "RocketAmmo", "RocketBox", "Cell", "CellPack"),
        *("Shotgun", "SuperShotgun", "Chaingun", "RocketLauncher", "PlasmaRifle"),
    )
)


@dataclass(frozen=True)
class DoomState:
    """The camera after a tic: map units, degrees counter-clockwise, units a tic."""

    x: float
    y: float
    eye_z: float
    angle: float
    velocity: FloatArray

    def pose(self) -> FloatArray:
        """Return the c2w pose: the map's east is +z, its south +x."""
        position = np.array([-self.y, -self.eye_z, self.x]) / UNITS_PER_METRE
        return pose_matrix(position, -float(np.radians(self.angle)), 0.0)

    def distance_to(self, other: DoomState) -> float:
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

    def __enter__(self) -> DoomEngine:
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
        """Start a map from its beginning, with every random number of the engine from `seed`.

        Raises:
            DataError: when there is no such map (the engine would play another one in silence).
        """
        if map_name not in freedoom_maps():
            message = f"map {map_name!r}: expected one of {', '.join(sorted(freedoom_maps()))}"
            raise DataError(message)
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
        self.wait(BEGIN_TICS)

    def wait(self, tics: int) -> None:
        """Let time pass."""
        self._act(np.zeros(2), 0.0, tics, is_read=True)

    def pickup_spots(self) -> list[tuple[float, float]]:
        """Return where things to pick up lie: places that a player can stand in."""
        state = self._game.get_state()
        return sorted({(o.position_x, o.position_y) for o in state.objects if o.name in _PICKUPS})

    def warp(self, x: float, y: float) -> bool:
        """Put the player somewhere; tell whether it came to stand there."""
        self._game.send_game_command(f"warp {x} {y}")
        self.wait(WARP_TICS)
        variables = self._variables()
        state = self.state()
        is_near = np.hypot(state.x - x, state.y - y) < 1
        return bool(is_near and abs(variables[6] - EYE_UNITS) < 1 and variables[7] > 0)

    def state(self) -> DoomState:
        """Return the camera as it stands."""
        x, y, z, angle, velocity_x, velocity_y, _, _ = self._variables()
        return DoomState(x, y, z, angle, np.array([velocity_x, velocity_y]))

    def frame(self) -> ByteArray:
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
        depth = np.asarray(self._game.get_state().depth_buffer)[middle].min(axis=0)
        columns = depth.reshape(-1, SCREEN_WIDTH // 32).mean(axis=1)
        return np.asarray(columns / DEPTH_STEPS_PER_METRE, np.float64)

    def turn(self, degrees: float) -> None:
        """Turn right at once."""
        self._act(np.zeros(2), degrees, 1, is_read=True)

    def advance(self, target: tuple[float, float], turn_degrees: float) -> DoomState:
        """Play one frame: turn right by `turn_degrees` and steer for a point in map units.

        Only the frame's last tic is drawn and read; the tics before it are predicted.

        Raises:
            WalkInterruptedError: when the map ends.
        """
        tics = self._config.tics_per_frame
        limit = 1.25 * self._config.kinematics.speed_metres * UNITS_PER_METRE / tics
        state = self.state()
        position, velocity = np.array([state.x, state.y]), state.velocity
        for tic in range(tics):
            wanted = (np.array(target) - position) / (tics - tic)
            length = float(np.hypot(*wanted))
            wanted *= min(1.0, limit / length) if length else 1.0
            angle = np.radians(state.angle - turn_degrees * (tic + 1) / tics)
            axes = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
            keys = np.round(axes @ (wanted - velocity) / THRUST_PER_KEY)
            keys = np.clip(keys, -MAX_KEY, MAX_KEY)
            self._act(keys, turn_degrees / tics, 1, is_read=tic == tics - 1)
            velocity = velocity + axes.T @ keys * THRUST_PER_KEY
            position = position + velocity
            velocity = velocity * FRICTION
        return self.state()

    def _act(self, keys: FloatArray, turn_degrees: float, tics: int, *, is_read: bool) -> None:
        self._game.set_action([float(keys[0]), float(keys[1]), turn_degrees])
        self._game.advance_action(tics, is_read)
        if is_read and (self._game.is_episode_finished() or self._game.is_player_dead()):
            raise WalkInterruptedError

    def _variables(self) -> FloatArray:
        return np.asarray(self._game.get_state().game_variables, np.float64)

    def _configured_game(self) -> vizdoom.DoomGame:
        game = vizdoom.DoomGame()
        game.set_doom_game_path(str(_wad_path()))
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
        game.add_game_args("-nomonsters +movebob 0 +sv_cheats 1 +cl_showsecretmessage 0")
        return game


@lru_cache
def freedoom_maps() -> frozenset[str]:
    """Return the names of the maps that come with the engine, from the file's directory."""
    data = _wad_path().read_bytes()
    _, count, start = struct.unpack_from("<4sii", data)
    names = (struct.unpack_from("<8s", data, start + 16 * i + 8)[0] for i in range(count))
    lumps = (bytes(name).rstrip(b"\0").decode("latin-1") for name in names)
    return frozenset(name for name in lumps if re.fullmatch(r"MAP\d\d", name))


def _wad_path() -> Path:
    return Path(vizdoom.__file__).parent / "freedoom2.wad"


class WalkInterruptedError(Exception):
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
