"""An index of keyframes by what they see: appended to and queried in constant time.

It holds the poses of at most `capacity` latents: the sink, the newest ones, and those that the
others cover least. When it is full, each new latent takes the place of the most redundant one: one
that repeats an older view, else the one whose frustum another, or the new one, covers best; of two
alike the newer, which was itself made from memory of the older. Who covers whom is kept as a
matrix, of which an append renews one row and one column; repeats cover nobody, so that what they
were made from stays. Everything has a fixed shape and stays on one device, so appending and scoring
never wait for a GPU. It chooses as `retrieval.retrieve` does among the latents that it holds. It
does not know latents' content.

Letters: K slots or cameras, Q query poses, P points of a frustum, M points, S choices.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import (
    NO_LATENT,
    Cameras,
    Cover,
    CoverQuestion,
    greedy_cover_in_torch,
)
from worldloom.memory.retrieval import (
    TIE_TOLERANCE,
    frustum_of,
    frustum_points,
    repeat_limits,
)

__all__ = ["NO_LATENT", "KeyframeIndex"]

_NO_COVER = -1.0


class KeyframeIndex:
    """Poses of the latents that are worth keeping, and which of them see a place.

    Attributes:
        latent_indices: the latent in each slot, `NO_LATENT` in a free one; int64 [K].
        poses: c2w of each slot, float64 [K, 4, 4].
    """

    latent_indices: Int[Tensor, " K"]
    poses: Float[Tensor, "K 4 4"]

    def __init__(
        self,
        config: BankConfig,
        retrieval: RetrievalConfig,
        intrinsics: Intrinsics,
        device: torch.device | str = "cpu",
        cover: Cover = greedy_cover_in_torch,
    ) -> None:
        """Make an empty index on a device; `cover` answers what is asked of it."""
        self._cover_of = cover
        self.config = config
        self.retrieval = retrieval
        self._frustum = frustum_of(retrieval, intrinsics)
        self._repeat_metres, self._repeat_cosine = repeat_limits(retrieval)
        self._points = torch.from_numpy(frustum_points(retrieval, intrinsics)).to(device)
        slots, points = config.capacity, len(self._points)
        self.latent_indices = torch.full((slots,), NO_LATENT, device=device)
        self.poses = self._points.new_zeros(slots, 4, 4)
        self._world_points = self._points.new_zeros(slots, points, 3)
        # What the frusta of slots i and j share, of either's volume; none with itself.
        self._cover = self._points.new_full((slots, slots), _NO_COVER)
        self._is_repeat = torch.zeros(slots, dtype=torch.bool, device=device)
        self._num_appended = 0

    def __len__(self) -> int:
        """Return the number of latents that were appended, held or not."""
        return self._num_appended

    @property
    def cover(self) -> Float[Tensor, "K K"]:
        """Share of each slot's frustum that each other's covers, symmetric; -1 for no pair."""
        return self._cover

    def append(
        self, pose: Float[Tensor, "4 4"], latent_index: int | None = None
    ) -> Int[Tensor, " 1"]:
        """Add the next latent's pose and return the slot that it took.

        Args:
            pose: camera to world.
            latent_index: its number, if latents were left out; one more than the last by default.

        Raises:
            ValueError: for a number that was given before.
        """
        new_index = self._num_appended if latent_index is None else latent_index
        if new_index < self._num_appended:
            message = f"latent {new_index}: expected at least {self._num_appended}, the next one"
            raise ValueError(message)
        pose = pose.to(self.poses)[None]
        points = self._placed(pose)[0]
        is_held = self.latent_indices != NO_LATENT
        covers = self._sees(pose, self._world_points.flatten(0, 1))
        by_new = covers.view(len(is_held), -1).double().mean(dim=1)
        by_held = self._sees(self.poses, points).double().mean(dim=1)
        # Frusta are equally large, so either count estimates the same volume, and both do better.
        is_first = is_held & ~self._is_repeat
        is_repeat = (is_first & self._is_repeat_of(pose, new_index)).any(dim=0, keepdim=True)
        cover = ((by_new + by_held) / 2).where(is_first & ~is_repeat, _NO_COVER)
        slot = self._slot_for(new_index, cover, is_held)
        self.latent_indices.index_fill_(0, slot, new_index)
        self.poses.index_copy_(0, slot, pose)
        self._world_points.index_copy_(0, slot, points[None])
        self._cover.index_copy_(0, slot, cover[None])
        self._cover.index_copy_(1, slot, cover[:, None])
        self._cover.view(-1).index_fill_(0, slot * (len(is_held) + 1), _NO_COVER)
        self._is_repeat.index_copy_(0, slot, is_repeat)
        self._num_appended = new_index + 1
        return slot

    def query(
        self,
        query_poses: Float[Tensor, "Q 4 4"],
        num: int,
        exclude_from: int,
        *,
        keep_sink: bool = True,
    ) -> Int[Tensor, " S"]:
        """Return `num` latents older than `exclude_from`, the sink first, `NO_LATENT` at the end.

        Args:
            query_poses: c2w of the coming views.
            num: choices, of which those that find no latent are `NO_LATENT`.
            exclude_from: the first latent that may not be chosen.
            keep_sink: False lets latent 0 compete like any other.
        """
        query_poses = query_poses.to(self.poses)
        indices = self.latent_indices
        return self._cover_of(
            CoverQuestion(
                cameras=Cameras.at(self.poses, self._frustum),
                frustum=self._frustum,
                points=self._placed(query_poses).flatten(0, 1),
                cost=self.retrieval.distance_weight * self._distance(query_poses),
                latent_indices=indices,
                is_open=(indices != NO_LATENT) & (indices < exclude_from) & ~self._is_repeat,
                num=num,
                keep_sink=keep_sink,
            )
        )

    def _slot_for(
        self,
        new_index: int,
        cover_by_new: Float[Tensor, " K"],
        is_held: Bool[Tensor, " K"],
    ) -> Int[Tensor, " 1"]:
        """Return the first free slot, or that of the most redundant latent that may go."""
        indices = self.latent_indices
        last_to_go = new_index - self.config.recent_latents
        may_go = (indices > 0) & (indices <= last_to_go)
        redundancy = torch.maximum(self._cover.amax(dim=1), cover_by_new)
        redundancy = redundancy.where(~self._is_repeat, torch.inf).where(may_go, -torch.inf)
        is_most = redundancy >= redundancy.max() - TIE_TOLERANCE
        newest_first = (-indices).where(is_most, torch.iinfo(torch.int64).max)
        # A free slot goes before any held one, and the first free one before the others.
        places = torch.arange(len(indices), device=indices.device)
        rank = newest_first.where(is_held, places + torch.iinfo(torch.int64).min)
        return rank.argmin(dim=0, keepdim=True)

    def _placed(self, poses: Float[Tensor, "Q 4 4"]) -> Float[Tensor, "Q P 3"]:
        return self._points @ poses[:, :3, :3].transpose(1, 2) + poses[:, None, :3, 3]

    def _sees(
        self, poses: Float[Tensor, "K 4 4"], points: Float[Tensor, "M 3"]
    ) -> Bool[Tensor, "K M"]:
        """Return which world points lie inside the frusta of poses."""
        return Cameras.at(poses, self._frustum).see(points, self._frustum)

    def _is_repeat_of(self, pose: Float[Tensor, "1 4 4"], index: int) -> Bool[Tensor, " K"]:
        """Return which slots' views are much older than a latent's and so near that it repeats."""
        is_older = self.latent_indices <= index - self.retrieval.repeat_latents
        metres = torch.linalg.vector_norm(self.poses[:, :3, 3] - pose[:, :3, 3], dim=-1)
        ahead = (self.poses[:, :3, 2] * pose[:, :3, 2]).sum(dim=-1)
        is_near: Tensor = (metres <= self._repeat_metres) & (ahead >= self._repeat_cosine)
        return is_near & is_older

    def _distance(self, query_poses: Float[Tensor, "Q 4 4"]) -> Float[Tensor, " K"]:
        """Return metres plus radians between each slot and its nearest query."""
        offset = query_poses[:, None, :3, 3] - self.poses[None, :, :3, 3]
        forward = (query_poses[:, None, :3, 2] * self.poses[None, :, :3, 2]).sum(-1)
        metres = torch.linalg.vector_norm(offset, dim=-1)
        radians = forward.clamp(-1, 1).acos()
        return torch.amin(metres + radians, dim=0)
