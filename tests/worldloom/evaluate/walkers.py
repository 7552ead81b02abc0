"""Fake releases that walk the procedural world by rendering it; not a test.

`ObedientRelease` shows what is really there, blurred and grained. `DeafRelease` turns right
whatever it is told. `FrozenRelease` repeats its start frame under heavy grain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from worldloom.actions import Actions
from worldloom.camera import Kinematics, integrate_poses, pose_matrix, yaw_pitch
from worldloom.data.schema import Clip
from worldloom.data.sources.procedural import ProceduralConfig, render, world_from_seed
from worldloom.evaluate.controllability import seen_at_start
from worldloom.evaluate.video_quality import Frames

CONFIG = ProceduralConfig(supersample=1)
world_of = cache(world_from_seed)


def blurred(frames: Frames, sigma: float) -> Frames:
    """Return frames under a Gaussian blur."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


@dataclass
class RenderedSession:
    """A walk whose frames are rendered at the poses it is given, or integrates."""

    clip: Clip
    seed: int
    sigma: float
    grain: float
    is_deaf: bool
    pose: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    dreams: bool = False
    num_segments: int = 0

    def __post_init__(self) -> None:
        self.start = self.pose

    def generate_segment(
        self, actions: Actions, poses: NDArray[np.float64] | None = None
    ) -> Frames:
        if self.is_deaf:
            actions, poses = Actions.still(len(actions)), None
            actions.mouse[:, 1] = 0.1
        if poses is None:
            keys, mouse = actions.keyboard.astype(float), actions.mouse.astype(float)
            poses = integrate_poses(self.pose, keys, mouse, Kinematics())
        self.pose = poses[-1]
        start = self.clip.poses_c2w[0].astype(np.float64)
        anchor = pose_matrix(start[:3, 3], yaw_pitch(start)[0], 0.0)
        world = world_of(int(self.clip.world))
        frames = np.stack([render(world, anchor @ pose, CONFIG) for pose in poses])
        if self.sigma:
            frames = blurred(frames, self.sigma)
        generator = np.random.default_rng([self.seed, self.num_segments])
        self.num_segments += 1
        if self.dreams:  # what the start image does not show is of the seed's own colour
            colour = np.random.default_rng(self.seed).integers(0, 255, 3)
            known = seen_at_start(self.start, poses, self.clip.intrinsics, *frames.shape[1:3])
            frames = np.where(known[..., None], frames, colour)
        noisy = frames + generator.normal(0, self.grain, frames.shape)
        return noisy.round().clip(0, 255).astype(np.uint8)


@dataclass
class ObedientRelease:
    """Renders the truth of the clip that a session's start image belongs to."""

    clips: list[Clip]
    sigma: float = 1.0
    grain: float = 2.0
    is_deaf: bool = False
    dreams: bool = False
    frames_per_segment: int = 12
    kinematics: Kinematics = field(default_factory=Kinematics)
    num_opened: int = 0

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> RenderedSession:
        self.num_opened += 1
        clip = next(c for c in self.clips if np.array_equal(c.frames[0], image))
        assert prompt == clip.prompt
        pose = pose_matrix(np.zeros(3), 0.0, pitch_radians)
        return RenderedSession(clip, seed, self.sigma, self.grain, self.is_deaf, pose, self.dreams)
