"""Exact overlap of camera frusta: the volume of the intersection of two convex hexahedra.

Half-spaces are intersected (qhull's dual) and the volume of the corners' hull is taken. It needs
scipy, which the product does without: this is what estimates are judged by, and how long the
exact way takes. It does not know retrieval.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog  # type: ignore[import-untyped]
from scipy.spatial import ConvexHull, HalfspaceIntersection  # type: ignore[import-untyped]

from worldloom.arrays import FloatArray
from worldloom.memory.frustum import Frustum, placed

# An intersection whose inscribed ball is smaller has less than a millionth of a cubic metre.
_LEAST_RADIUS_METRES = 1e-5
_NUM_PROBES = (8, 6, 6)


class ExactOverlap:
    """Exact vol(A and B) / vol(A) of two cameras' frusta, by convex hulls.

    An interior point, which qhull needs, is taken from fixed probes where one lies inside both
    frusta, and from a linear programme (the centre of the greatest ball) where none does.
    """

    def __init__(self, frustum: Frustum) -> None:
        """Compare cameras that share this frustum."""
        self.frustum = frustum
        self._planes = frustum.planes()
        self._corners = frustum.corners()
        self._probes = frustum.volume_points(*_NUM_PROBES)

    def overlap(self, first: Float[FloatArray, "4 4"], second: Float[FloatArray, "4 4"]) -> float:
        """Return the share of the first camera's frustum that lies in the second's, 0 to 1."""
        # In the first camera's frame numbers stay small however far a walk has come.
        relative = np.linalg.inv(first) @ second
        other = self._moved_planes(relative)
        if self._are_parted(other, relative):
            return 0.0
        halfspaces = np.concatenate([self._planes, other])
        inner = self._interior_point(halfspaces)
        if inner is None:
            return 0.0
        corners = HalfspaceIntersection(halfspaces, inner).intersections
        return float(ConvexHull(corners).volume) / self.frustum.volume

    def overlaps(
        self, query: Float[FloatArray, "4 4"], candidates: Float[FloatArray, "L 4 4"]
    ) -> Float[FloatArray, " L"]:
        """Return the share of the query's frustum that each candidate's covers."""
        return np.array([self.overlap(query, candidate) for candidate in candidates])

    def _moved_planes(self, pose: Float[FloatArray, "4 4"]) -> Float[FloatArray, "6 4"]:
        normals = self._planes[:, :3] @ pose[:3, :3].T
        offsets = self._planes[:, 3] - normals @ pose[:3, 3]
        return np.concatenate([normals, offsets[:, None]], axis=1)

    def _are_parted(
        self, other: Float[FloatArray, "6 4"], relative: Float[FloatArray, "4 4"]
    ) -> bool:
        """Tell whether a face of one has all corners of the other on its outer side."""
        theirs = placed(self._corners, relative[None])[0]
        outside_ours = theirs @ self._planes[:, :3].T + self._planes[:, 3] >= 0
        outside_theirs = self._corners @ other[:, :3].T + other[:, 3] >= 0
        return bool(outside_ours.all(axis=0).any() or outside_theirs.all(axis=0).any())

    def _interior_point(
        self, halfspaces: Float[FloatArray, "12 4"]
    ) -> Float[FloatArray, " 3"] | None:
        slack = -(self._probes @ halfspaces[:, :3].T + halfspaces[:, 3]).max(axis=1)
        best = int(slack.argmax())
        if slack[best] > _LEAST_RADIUS_METRES:
            return np.asarray(self._probes[best])
        found = linprog(
            c=[0, 0, 0, -1],
            A_ub=np.concatenate([halfspaces[:, :3], np.ones((len(halfspaces), 1))], axis=1),
            b_ub=-halfspaces[:, 3],
            bounds=[(None, None)] * 3 + [(0, None)],
        )
        if found.status != 0 or found.x[3] <= _LEAST_RADIUS_METRES:
            return None
        return np.asarray(found.x[:3])
