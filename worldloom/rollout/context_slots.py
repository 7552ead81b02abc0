"""The context of a session as fixed slots of keys and values, written in place.

Slots of memory come first, then those of the past as a ring. A slot is written when its latent
changes and at no other time; keys and values stay un-rotated, and every block reads the same
tensors from a session's first segment to its last. It does not choose latents.

Letters: S slots, P tokens of a latent, N heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from worldloom.memory.slots import MemorySlots
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.rollout.committed_pages import Page


class ContextSlots:
    """Keys and values [1, S P, N, D] of each block, and which latent lies in which slot."""

    def __init__(
        self, config: TransformerConfig, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Allocate empty slots for `config.num_context_latents` latents."""
        self.config = config
        self._memory = MemorySlots(config.num_memory_latents, config.memory_refresh_frames)
        self._past: list[int | None] = [None] * config.num_past_latents
        self.num_writes = 0
        tokens = config.num_context_latents * config.tokens_per_latent_frame
        shape = (1, tokens, config.num_heads, config.head_dim)
        self.blocks = [
            BlockContext(
                torch.zeros(shape, dtype=dtype, device=device),
                torch.zeros(shape, dtype=dtype, device=device),
            )
            for _ in range(config.num_blocks)
        ]

    @property
    def latents(self) -> list[int | None]:
        """The latent in each slot."""
        return [*self._memory.latents, *self._past]

    def assign_memory(self, chosen: Sequence[int], start: int) -> list[int]:
        """Offer latents as memory of the segment at `start`; return the slots to be written."""
        return self._memory.update(chosen, start)

    def assign_past(self, latent_index: int) -> int:
        """Let a latent be the newest of the past and return its slot, to be written."""
        place = latent_index % self.config.num_past_latents
        self._past[place] = latent_index
        return self.config.num_memory_latents + place

    def write(self, slot: int, page: Page) -> None:
        """Write a slot from its latent's keys and values."""
        tokens = self.config.tokens_per_latent_frame
        to = slice(slot * tokens, (slot + 1) * tokens)
        pairs = list(zip(self.blocks, page, strict=True))
        mine = [x[:, to] for block, _ in pairs for x in (block.keys, block.values)]
        its = [x for _, block in pairs for x in (block.keys, block.values)]
        torch._foreach_copy_(mine, its)
        self.num_writes += 1
