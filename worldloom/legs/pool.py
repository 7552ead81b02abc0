"""Clips that are added while they are learnt from, where the network is.

A clip's latents lie on the device in half precision; a draw sees the clips that are there when it
is made. It does not know where clips come from.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.train.clip_context import ClipBatch

Latents = Float[Tensor, "L C H W"]


class ClipPool:
    """A set of clips of one length that grows up to a capacity."""

    def __init__(self, capacity: int, intrinsics: Intrinsics, device: torch.device) -> None:
        """Hold no clip yet."""
        self.intrinsics = intrinsics
        self.clip_ids: list[str] = []
        self.num_segments = 0
        self._capacity, self._device = capacity, device
        self._clips: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clip_ids)

    def add(self, clip_id: str, clip: ClipBatch, latents: Latents) -> None:
        """Add one clip; its latents stand in for the batch's own.

        Raises:
            ValueError: when the pool is full.
        """
        row = len(self)
        if row == self._capacity:
            message = f"clip {clip_id!r}: the pool is full, expected at most {row} clips"
            raise ValueError(message)
        num_latents = clip.poses.shape[1]
        values = {**vars(clip), "latents": latents[None, :num_latents].half()}
        if not self._clips:
            self.num_segments = clip.context_indices.shape[1]
            self._clips = {
                name: torch.empty(
                    (self._capacity, *value.shape[1:]), dtype=value.dtype, device=self._device
                )
                for name, value in values.items()
            }
        for name, value in values.items():
            self._clips[name][row].copy_(value[0])
        self.clip_ids.append(clip_id)  # last, since draws are made beside

    def batch(self, rows: Int[Tensor, " B"]) -> ClipBatch:
        """Return the clips of these rows."""
        there = rows.to(self._device)
        picked = {name: value[there] for name, value in self._clips.items()}
        return ClipBatch(**{**picked, "latents": picked["latents"].float()})
