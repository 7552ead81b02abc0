"""Random walks at the reference's kinematics, for measurements that need many trajectories.

Every 12 frames a key or two keys and a turn are drawn, as the reference's own random actions are,
with walking backwards and standing still added. It does not know what is measured.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from worldloom.arrays import FloatArray
from worldloom.camera import Kinematics, integrate_poses

# Matrix-Game 3.0's code: 12.35 units of a centimetre a frame, 15 degrees a mouse unit.
REFERENCE_KINEMATICS = Kinematics(turn_degrees_per_unit=15.0, speed_metres=0.1235)
_BLOCK_FRAMES = 12
_KEYS: tuple[tuple[int, ...], ...] = ((0,), (0,), (1,), (2,), (3,), (0, 2), (0, 3), ())
_YAW_RATES = (-0.1, 0.0, 0.1)


def random_walk(
    generator: np.random.Generator,
    num_frames: int,
    kinematics: Kinematics = REFERENCE_KINEMATICS,
) -> Float[FloatArray, "F 4 4"]:
    """Return the c2w poses of a walk's frames, the start pose (the identity) first."""
    keyboard, mouse = np.zeros((num_frames - 1, 6)), np.zeros((num_frames - 1, 2))
    for start in range(0, num_frames - 1, _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        keyboard[block, _KEYS[generator.integers(len(_KEYS))]] = 1
        mouse[block, 1] = generator.choice(_YAW_RATES)
    start_pose = np.eye(4)
    poses = integrate_poses(start_pose, keyboard, mouse, kinematics)
    return np.concatenate([start_pose[None], poses])
