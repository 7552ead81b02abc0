"""The greedy cover of coming views by latents that are held, as a question for any device.

A question is plain numbers, so that what answers it may be torch, here, or a kernel elsewhere. An
answer is the choice of `retrieval.greedy_cover` among the latents that are open. It does not know
how latents came to be held.

Letters: K slots, M points, S choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldloom.memory.frustum import Frustum
from worldloom.memory.retrieval import TIE_TOLERANCE

NO_LATENT = -1
_NEVER = torch.iinfo(torch.int64).max
SINK_SLOT = 0


@dataclass(frozen=True)
class Cameras:
    """Where cameras stand, ready to say which points they see.

    Attributes:
        axes: x, y and z of each camera in world coordinates, float64 [3, K, 3]; x and y in units of
            the frustum's half width, so that a point is inside if |x|, |y| <= z.
        centre: each camera's own place on those axes [3, K, 1].
    """

    axes: Tensor
    centre: Tensor

    @classmethod
    def at(cls, poses: Float[Tensor, "K 4 4"], frustum: Frustum) -> Cameras:
        """Return cameras at c2w poses."""
        axes = torch.stack(
            [poses[:, :3, 0] / frustum.tan_x, poses[:, :3, 1] / frustum.tan_y, poses[:, :3, 2]]
        )
        return cls(axes, (axes * poses[:, :3, 3]).sum(dim=-1, keepdim=True))

    def see(self, points: Float[Tensor, "M 3"], frustum: Frustum) -> Bool[Tensor, "K M"]:
        """Return which world points lie inside the cameras' frusta."""
        # One product for the three coordinates of all cameras.
        moved = torch.addmm(self.centre.flatten(0, 1), self.axes.flatten(0, 1), points.T, beta=-1)
        x, y, z = moved.chunk(3)
        inside = torch.maximum(x.abs_(), y.abs_(), out=x) <= z
        inside &= z > frustum.near_metres
        return inside.logical_and_(z < frustum.far_metres)


@dataclass(frozen=True)
class CoverQuestion:
    """Which latents cover points best, one after another?"""

    cameras: Cameras
    frustum: Frustum
    points: Tensor  # float64 [M, 3], of the coming views, world coordinates
    cost: Tensor  # float64 [K], share of points that each latent must add before it is worth 0
    latent_indices: Tensor  # int64 [K]
    is_open: Tensor  # bool [K], who may be chosen
    num: int  # choices
    keep_sink: bool  # the first choice is the sink's slot


@runtime_checkable
class Cover(Protocol):
    """What answers such questions."""

    def __call__(self, question: CoverQuestion) -> Int[Tensor, " S"]:
        """Return the chosen latents, `NO_LATENT` where none is left."""


def greedy_cover_in_torch(question: CoverQuestion) -> Int[Tensor, " S"]:
    """Answer where the question lies, without waiting for its device."""
    points, indices, is_open = question.points, question.latent_indices, question.is_open
    seen = question.cameras.see(points, question.frustum).to(torch.float32)
    unseen = torch.ones(len(points), dtype=torch.float32, device=points.device)
    chosen = torch.full((question.num,), NO_LATENT, device=points.device)
    for choice in range(question.num):
        # Counts are exact in float32.
        worth = (seen @ unseen).double() / len(points) - question.cost
        if question.keep_sink and choice == 0:
            worth[SINK_SLOT : SINK_SLOT + 1].fill_(torch.inf)  # not an index: that would wait
        worth = worth.where(is_open, -torch.inf)
        is_best = is_open & (worth >= worth.max() - TIE_TOLERANCE)
        slot = indices.where(is_best, _NEVER).argmin(dim=0, keepdim=True)
        has_choice = is_best.index_select(0, slot)
        chosen[choice : choice + 1] = indices.index_select(0, slot).where(has_choice, NO_LATENT)
        unseen = unseen * (1 - seen.index_select(0, slot)[0])
        is_open = is_open.index_fill(0, slot, value=False)
    return chosen
