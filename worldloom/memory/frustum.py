"""The frustum of a camera: sample points of it in metres, and which points lie inside it.

A frustum is what a pinhole camera sees between a near and a far depth; its image is centred, so
a point is inside when |x| <= z tan_x, |y| <= z tan_y and near < z < far, in the camera's frame
(x right, y down, z forward). Points that are uniform in volume estimate the share of a frustum
that another one covers, vol(A and B) / vol(A). It does not know who is compared with whom.

Letters: K sample points, L cameras, ... leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from worldloom.arrays import BoolArray, FloatArray
from worldloom.camera import Intrinsics

_REFERENCE_SIDE = 10
# Powers of the inverse of the real root of g^4 = g + 1: the additive recurrence in three
# dimensions whose points keep the greatest distance from each other for any number of them.
_PLASTIC = 1.2207440846057596


@dataclass(frozen=True)
class Frustum:
    """The visible volume of a camera.

    Attributes:
        near_metres: nearest depth that is seen.
        far_metres: farthest depth that is seen.
        tan_x: tangent of half the horizontal field of view.
        tan_y: tangent of half the vertical field of view.
    """

    near_metres: float
    far_metres: float
    tan_x: float
    tan_y: float

    @classmethod
    def of_camera(cls, intrinsics: Intrinsics, near_metres: float, far_metres: float) -> Frustum:
        """Return the frustum of a camera whose principal point is its image's centre."""
        return cls(
            near_metres=near_metres,
            far_metres=far_metres,
            tan_x=intrinsics.cx / intrinsics.fx,
            tan_y=intrinsics.cy / intrinsics.fy,
        )

    @property
    def volume(self) -> float:
        """Cubic metres between near and far."""
        return 4 / 3 * self.tan_x * self.tan_y * (self.far_metres**3 - self.near_metres**3)

    def planes(self) -> Float[FloatArray, "6 4"]:
        """Return outward unit half-spaces (n, d) in the camera's frame: inside is n.p + d <= 0."""
        planes = np.array(
            [
                [1, 0, -self.tan_x, 0],
                [-1, 0, -self.tan_x, 0],
                [0, 1, -self.tan_y, 0],
                [0, -1, -self.tan_y, 0],
                [0, 0, -1, self.near_metres],
                [0, 0, 1, -self.far_metres],
            ]
        )
        return np.asarray(planes / np.linalg.norm(planes[:, :3], axis=1, keepdims=True))

    def corners(self) -> Float[FloatArray, "8 3"]:
        """Return the corners in the camera's frame, metres."""
        sides = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * [self.tan_x, self.tan_y]
        rays = np.concatenate([sides, np.ones((4, 1))], axis=1)
        return np.concatenate([self.near_metres * rays, self.far_metres * rays])

    def volume_points(self, depths: int, rows: int, cols: int) -> Float[FloatArray, "K 3"]:
        """Return depths x rows x cols points, uniform in volume, camera frame, metres.

        Layers of equal volume are cut into equal cells; each cell holds one point, moved off its
        centre by a fixed low-discrepancy sequence, so that no face crosses a whole row at once.
        """
        cells = np.stack(
            np.meshgrid(np.arange(depths), np.arange(rows), np.arange(cols), indexing="ij"), -1
        ).reshape(-1, 3)
        step = _PLASTIC ** -np.arange(1.0, 4.0)
        offsets = (0.5 + np.arange(1, len(cells) + 1)[:, None] * step) % 1
        layer, v, u = ((cells + offsets) / [depths, rows, cols]).T
        near, far = self.near_metres**3, self.far_metres**3
        z = np.cbrt(near + layer * (far - near))
        return np.stack([(2 * u - 1) * self.tan_x * z, (2 * v - 1) * self.tan_y * z, z], -1)

    def contains(
        self, points: Float[FloatArray, "*points 3"], poses: Float[FloatArray, "L 4 4"]
    ) -> Bool[BoolArray, "*points L"]:
        """Return which world points [..., 3] lie inside the frusta of cameras at c2w poses."""
        rotation = poses[:, :3, :3]
        centre = np.einsum("lij,li->lj", rotation, poses[:, :3, 3])
        x, y, z = (points @ rotation[:, :, axis].T - centre[:, axis] for axis in range(3))
        inside = (z > self.near_metres) & (z < self.far_metres)
        return np.asarray(inside & (abs(x) <= z * self.tan_x) & (abs(y) <= z * self.tan_y))


# Matrix-Game 3.0's code: 90 degrees both ways on 1280 x 720, depths of 0.1 to 30 m.
REFERENCE_FRUSTUM = Frustum(near_metres=0.1, far_metres=30.0, tan_x=1.0, tan_y=1.0)


def reference_points() -> Float[FloatArray, "1000 3"]:
    """Return the reference's 10 x 10 x 10 points: depth linear, lateral in proportion to depth.

    The faces of the frustum are among them; the near tenth of the depth has as many as the far.
    """
    side = np.linspace(-1, 1, _REFERENCE_SIDE)
    depths = np.linspace(
        REFERENCE_FRUSTUM.near_metres, REFERENCE_FRUSTUM.far_metres, _REFERENCE_SIDE
    )
    x, y, z = np.meshgrid(side, side, depths, indexing="ij")
    return np.asarray(np.stack([x * z, y * z, z], axis=-1).reshape(-1, 3))


def placed(
    points: Float[FloatArray, "K 3"], poses: Float[FloatArray, "L 4 4"]
) -> Float[FloatArray, "L K 3"]:
    """Return camera-frame points as world points of every camera at c2w poses."""
    world = np.einsum("lij,kj->lki", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    return np.asarray(world)
