"""Which clips are fit to learn from: figures of a clip, and the reasons to drop it.

After Matrix-Game 3.0's data engine (speed plausibility, quality), whose thresholds are not public:
these are ours. A clip is judged by itself, so that the verdict does not depend on its neighbours:
the speed's z-score is against what the keys ask for. It does not know sources or storage.
"""

from __future__ import annotations

import cv2
import numpy as np
from pydantic import Field

from worldloom.arrays import BoolArray, FloatArray
from worldloom.camera import Kinematics, rotation_angle, yaw_pitch
from worldloom.config import Config
from worldloom.data.schema import Clip

REASONS = (
    "speed",
    "pose_jump",
    "static",
    "exposure",
    "blur",
    "action_mismatch",
)


class FilterConfig(Config):
    """Thresholds of the filters; a clip beyond one of them is dropped."""

    kinematics: Kinematics = Field(Kinematics(), description="what an action should move")
    max_speed_z: float = Field(4.0, gt=0, description="largest frame speed, standard deviations")
    speed_spread_metres: float = Field(
        0.08, gt=0, description="standard deviation of speed about the expected one, m a frame"
    )
    max_jump_metres: float = Field(0.5, gt=0, description="largest step between frames, metres")
    max_jump_degrees: float = Field(20.0, gt=0, description="largest turn between frames, degrees")
    max_static_frames: int = Field(32, ge=1, description="longest standstill with no turning")
    min_brightness: float = Field(10.0, ge=0, description="least mean of a frame, 0..255")
    max_brightness: float = Field(245.0, le=255, description="greatest mean of a frame, 0..255")
    max_bad_exposure_share: float = Field(0.1, ge=0, le=1, description="frames out of bounds")
    min_sharpness: float = Field(
        12.0, ge=0, description="least median variance of the Laplacian of grey frames"
    )
    max_mismatch_share: float = Field(
        0.05, ge=0, le=1, description="frames whose pose contradicts their action"
    )
    max_blocked_share: float = Field(
        0.4, ge=0, le=1, description="frames with a key held that moved nothing"
    )


def clip_quality(clip: Clip, config: FilterConfig) -> dict[str, float]:
    """Return the figures that `drop_reasons` judges."""
    poses = clip.poses_c2w.astype(np.float64)
    steps = np.diff(poses[:, :3, 3], axis=0)
    speed = np.linalg.norm(steps[:, [0, 2]], axis=1)
    turn = np.degrees(rotation_angle(poses[:-1], poses[1:]))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames]
    brightness = np.array([frame.mean() for frame in grey])
    exposed = (brightness >= config.min_brightness) & (brightness <= config.max_brightness)
    sharpness = [cv2.Laplacian(frame, cv2.CV_64F).var() for frame in grey]
    mismatch, blocked = _action_errors(clip, poses, config)
    return {
        "speed_z": _speed_z(clip, speed, config),
        "max_step_metres": float(np.linalg.norm(steps, axis=1).max(initial=0)),
        "max_turn_degrees": float(turn.max(initial=0)),
        "static_frames": float(_longest_run((speed < 1e-3) & (turn < 0.1))),
        "brightness": float(brightness.mean()),
        "bad_exposure_share": float(1 - exposed.mean()),
        "sharpness": float(np.median(sharpness)),
        "mismatch_share": mismatch,
        "blocked_share": blocked,
    }


def drop_reasons(quality: dict[str, float], config: FilterConfig) -> tuple[str, ...]:
    """Return why a clip of these figures is dropped; nothing if it is kept."""
    jumps = (
        quality["max_step_metres"] > config.max_jump_metres
        or quality["max_turn_degrees"] > config.max_jump_degrees
    )
    mismatches = (
        quality["mismatch_share"] > config.max_mismatch_share
        or quality["blocked_share"] > config.max_blocked_share
    )
    failed = {
        "speed": quality["speed_z"] > config.max_speed_z,
        "pose_jump": jumps,
        "static": quality["static_frames"] > config.max_static_frames,
        "exposure": quality["bad_exposure_share"] > config.max_bad_exposure_share,
        "blur": quality["sharpness"] < config.min_sharpness,
        "action_mismatch": mismatches,
    }
    return tuple(reason for reason in REASONS if failed[reason])


def _speed_z(clip: Clip, speed: FloatArray, config: FilterConfig) -> float:
    """Return by how many standard deviations the fastest three frames outrun the keys' speed."""
    if not len(speed):
        return 0.0
    excess = speed - config.kinematics.speed_metres * clip.keyboard[1:].any(axis=1)
    smooth = np.convolve(excess, np.ones(3) / 3, "valid") if len(excess) >= 3 else excess
    return float(smooth.max() / config.speed_spread_metres)


def _action_errors(clip: Clip, poses: FloatArray, config: FilterConfig) -> tuple[float, float]:
    """Return the shares of frames that contradict their action, and that are merely blocked.

    A contradiction is motion against the keys, motion without a key, or a turn that the mouse did
    not ask for. Being stopped by a wall is none.
    """
    if len(poses) < 2:
        return 0.0, 0.0
    angles = np.array([yaw_pitch(pose) for pose in poses])
    yaw, turned = angles[:-1, 0], np.diff(angles, axis=0)
    turned = (turned + np.pi) % (2 * np.pi) - np.pi
    asked = np.radians(config.kinematics.turn_degrees_per_unit) * clip.mouse[1:, ::-1]
    pitch_stopped = (np.abs(turned[:, 1]) < 1e-3) & (asked[:, 1] != 0)
    error = np.abs(turned - asked)
    wrong_turn = (error[:, 0] > np.radians(0.5)) | (
        (error[:, 1] > np.radians(0.5)) & ~pitch_stopped
    )
    keys = clip.keyboard[1:]
    forward, right = keys[:, 0] - keys[:, 1], keys[:, 3] - keys[:, 2]
    middle = yaw + turned[:, 0] / 2
    wanted = np.stack(
        [
            forward * np.sin(middle) + right * np.cos(middle),
            forward * np.cos(middle) - right * np.sin(middle),
        ],
        axis=1,
    )
    moved = np.diff(poses[:, [0, 2], 3], axis=0) / max(config.kinematics.speed_metres, 1e-9)
    is_asked = np.hypot(wanted[:, 0], wanted[:, 1]) > 0
    along = (wanted * moved).sum(axis=1)
    distance = np.hypot(moved[:, 0], moved[:, 1])
    against = is_asked & (along < -0.35)
    unasked = ~is_asked & (distance > 0.5)
    blocked = is_asked & (distance < 0.1)
    return float((wrong_turn | against | unasked).mean()), float(blocked.mean())


def _longest_run(mask: BoolArray) -> int:
    longest = current = 0
    for value in mask:
        current = current + 1 if value else 0
        longest = max(longest, current)
    return longest
