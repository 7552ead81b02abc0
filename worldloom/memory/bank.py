"""The bank of committed latents: what has been seen so far, from where, with which actions.

It holds the truth of a session: latents, poses and actions. Keys and values follow from each latent
alone and are kept beside it as a cache. It does not choose: `retrieval` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.model.attention import BlockContext


@dataclass
class MemoryBank:
    """Committed latents of one session, in order of time."""

    latents: list[Tensor] = field(default_factory=list)  # each [C, H, W]
    poses: list[Tensor] = field(default_factory=list)  # each [4, 4], camera to world
    keys_values: list[list[BlockContext]] = field(default_factory=list)  # by latent, by block

    def __len__(self) -> int:
        """Return the number of committed latents."""
        return len(self.latents)

    def append(
        self,
        latent: Float[Tensor, "C H W"],
        pose: Float[Tensor, "4 4"],
        keys_values: list[BlockContext],
    ) -> None:
        """Add one latent [C, H, W] with its pose [4, 4] and its keys and values."""
        self.latents.append(latent)
        self.poses.append(pose)
        self.keys_values.append(keys_values)

    def pose_array(self) -> Float[Tensor, "L 4 4"]:
        """Return the poses [L, 4, 4] of all latents."""
        return torch.stack(self.poses)

    def gather(self, indices: list[int]) -> list[BlockContext]:
        """Return the keys and values [1, S, N, D] of chosen latents, block by block."""
        chosen = [self.keys_values[index] for index in indices]
        return [
            BlockContext(
                keys=torch.cat([latent[block].keys for latent in chosen], dim=1),
                values=torch.cat([latent[block].values for latent in chosen], dim=1),
            )
            for block in range(len(chosen[0]))
        ]
