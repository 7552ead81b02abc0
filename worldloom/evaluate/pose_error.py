"""Where a frame was taken from, by rendering the world until the picture fits.

In the procedural world every view can be rendered, so a made frame is compared with renderings
around the pose that was asked for: turned, stepped ahead and stepped aside, first on a coarse grid
and then around the best one with half the steps, again and again. Pictures are compared small and
blurred, by the correlation of each colour with its mean taken out, so neither brightness nor
sharpness moves the answer. What is left between the pose found and the pose asked for is the
error: degrees of yaw and metres on the floor plan; between two frames it is degrees a frame of
turn. A frame that fits nowhere (the model shows another place, or mush), or best on the grid's
edge, is not located, and the share of located frames stands beside every error. The same search on
the recording gives the floor. Pitch is taken as asked. It does not know who made the frames.

Letters: F frames, N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float
from pydantic import Field

from worldloom.arrays import FloatArray
from worldloom.camera import Intrinsics, pose_matrix, yaw_pitch
from worldloom.config import Config
from worldloom.data.sources.procedural_world import World
from worldloom.data.sources.raycast import render_poses
from worldloom.evaluate.video_quality import Frames

Pose = Float[FloatArray, "4 4"]
Offsets = Float[FloatArray, "N 3"]  # yaw in radians, metres ahead, metres to the right


class PoseSearchConfig(Config):
    """How far and how finely is searched."""

    max_degrees: float = Field(8.0, gt=0, lt=45, description="largest yaw error looked for")
    step_degrees: float = Field(2.0, gt=0, description="spacing of the coarse grid in yaw")
    max_metres: float = Field(0.5, gt=0, description="largest step ahead or aside looked for")
    step_metres: float = Field(0.25, gt=0, description="spacing of the coarse grid on the plan")
    num_halvings: int = Field(4, ge=0, description="times that the steps are halved")
    num_kept: int = Field(
        3,
        ge=1,
        description="best candidates around which the search goes on: near walls a turn "
        "and a sidestep look alike at first",
    )
    coarse_columns: int = Field(24, ge=8, description="width of pictures on the grid, pixels")
    columns: int = Field(48, ge=16, description="width of pictures after that, pixels")
    blur_share: float = Field(
        0.03, gt=0, description="Gaussian blur before, share of the picture's width"
    )
    least_correlation: float = Field(
        0.6, ge=-1, le=1, description="correlation from which a frame counts as located"
    )


class FoundPose(Config):
    """How far from the pose asked for a frame fits best."""

    yaw_degrees: float = Field(description="turned to the right of the asked view, degrees")
    ahead_metres: float = Field(description="stepped ahead, metres")
    right_metres: float = Field(description="stepped to the right, metres")
    correlation: float = Field(description="of the best rendering with the frame")
    is_located: bool = Field(description="whether it fits well, and not on the edge of the grid")

    @property
    def metres(self) -> float:
        """Distance on the floor plan."""
        return float(np.hypot(self.ahead_metres, self.right_metres))


class PoseErrors(Config):
    """What the located frames of a walk say."""

    num_frames: int = Field(ge=1, description="frames looked at")
    num_located: int = Field(ge=0, description="frames that fit somewhere")
    yaw_degrees: float | None = Field(description="mean absolute yaw error; None for none located")
    metres: float | None = Field(description="mean distance; None for none located")
    turn_degrees_per_frame: float | None = Field(
        description="mean absolute error of the turn between two located frames, a frame"
    )


class PoseSearch:
    """Finds where frames of one world were taken from."""

    def __init__(
        self,
        world: World,
        intrinsics: Intrinsics,
        frame_size: tuple[int, int],
        config: PoseSearchConfig,
    ) -> None:
        """Take the world and the camera of the frames."""
        self.config = config
        self._coarse, self._fine = (
            _Glass(world, intrinsics, frame_size, columns, config.blur_share)
            for columns in (config.coarse_columns, config.columns)
        )

    def find(self, frame: Frames, asked: Pose) -> FoundPose:
        """Return where a frame uint8 [H, W, 3] fits best, near the pose asked for."""
        steps = np.array([np.radians(self.config.step_degrees), *[self.config.step_metres] * 2])
        kept, correlation = self._best(self._coarse, _coarse_grid(self.config), frame, asked)
        for _ in range(self.config.num_halvings):
            steps = steps / 2
            around = (kept[:, None] + _around() * steps).reshape(-1, 3)
            kept, correlation = self._best(self._fine, np.unique(around, axis=0), frame, asked)
        turn, ahead, right = (float(value) for value in kept[0])
        return FoundPose(
            yaw_degrees=float(np.degrees(turn)),
            ahead_metres=ahead,
            right_metres=right,
            correlation=correlation,
            is_located=correlation >= self.config.least_correlation
            and self._is_inside(np.degrees(turn), ahead, right),
        )

    def _is_inside(self, degrees: float, ahead: float, right: float) -> bool:
        """Tell whether a pose lies within the grid; on its edge a farther one may fit better."""
        most = self.config.max_metres
        return abs(degrees) < self.config.max_degrees and max(abs(ahead), abs(right)) < most

    def _best(
        self, glass: _Glass, offsets: Offsets, frame: Frames, asked: Pose
    ) -> tuple[Offsets, float]:
        """Return the offsets that fit best, the best one first, and its correlation."""
        correlations = glass.correlations(np.stack([moved(asked, o) for o in offsets]), frame)
        order = np.argsort(-correlations, kind="stable")[: self.config.num_kept]
        kept: Offsets = offsets[order]
        return kept, float(correlations[order[0]])


class _Glass:
    """Compares a frame with renderings, both at one small width."""

    def __init__(
        self,
        world: World,
        intrinsics: Intrinsics,
        frame_size: tuple[int, int],
        columns: int,
        blur_share: float,
    ) -> None:
        scale = columns / frame_size[1]
        self._world = world
        self._size = (round(frame_size[0] * scale), columns)
        self._blur_pixels = blur_share * columns
        self._intrinsics = Intrinsics(
            fx=intrinsics.fx * scale,
            fy=intrinsics.fy * scale,
            cx=intrinsics.cx * scale,
            cy=intrinsics.cy * scale,
        )

    def correlations(
        self, poses: Float[FloatArray, "N 4 4"], frame: Frames
    ) -> Float[FloatArray, " N"]:
        """Return how well the view from each pose fits the frame, in [-1, 1]."""
        views = render_poses(self._world, poses, self._intrinsics, *self._size, supersample=2)
        small = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        found: FloatArray = self._features(views) @ self._features(small[None].astype(np.uint8))[0]
        return found

    def _features(self, views: Frames) -> Float[FloatArray, "N E"]:
        """Return each view as a unit vector: blurred, every colour without its mean."""
        sigma = self._blur_pixels
        blurred = np.stack([cv2.GaussianBlur(v.astype(np.float64), (0, 0), sigma) for v in views])
        centred = (blurred - blurred.mean(axis=(1, 2), keepdims=True)).reshape(len(views), -1)
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        unit: FloatArray = centred / np.maximum(norms, 1e-9)
        return unit


def moved(pose: Pose, offset: Float[FloatArray, " 3"]) -> Pose:
    """Return a pose turned by a yaw in radians, after steps ahead and to the right in metres."""
    yaw, pitch = yaw_pitch(pose)
    turn, ahead, right = offset
    step = np.array(
        [
            ahead * np.sin(yaw) + right * np.cos(yaw),
            0,
            ahead * np.cos(yaw) - right * np.sin(yaw),
        ]
    )
    return pose_matrix(pose[:3, 3] + step, yaw + float(turn), pitch)


def pose_errors(found: Sequence[FoundPose], indices: Sequence[int]) -> PoseErrors:
    """Return the errors of a walk's frames, at these indices, in order."""
    located = [pose for pose in found if pose.is_located]
    pairs = [
        (abs(later.yaw_degrees - pose.yaw_degrees) / (at_later - at))
        for pose, later, at, at_later in zip(
            found[:-1], found[1:], indices[:-1], indices[1:], strict=True
        )
        if pose.is_located and later.is_located
    ]
    return PoseErrors(
        num_frames=len(found),
        num_located=len(located),
        yaw_degrees=_mean([abs(pose.yaw_degrees) for pose in located]),
        metres=_mean([pose.metres for pose in located]),
        turn_degrees_per_frame=_mean(pairs),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _coarse_grid(config: PoseSearchConfig) -> Offsets:
    turns = round(config.max_degrees / config.step_degrees)
    paces = round(config.max_metres / config.step_metres)
    yaw = np.arange(-turns, turns + 1) * np.radians(config.step_degrees)
    plan = np.arange(-paces, paces + 1) * config.step_metres
    return _grid(yaw, plan, plan)


def _around() -> Offsets:
    side = np.array([-1.0, 0.0, 1.0])
    return _grid(side, side, side)


def _grid(*axes: FloatArray) -> Offsets:
    grid: Offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid
