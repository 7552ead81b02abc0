"""The context of a stream as every block's attention reads it, written once a segment.

Keys are turned to where the segment sees them from; behind them is room for the segment's own
tokens, which are written at every denoising step. Memory is allocated once. It does not know which
latents the context's tokens are of.

Letters: S context tokens, L own tokens, N heads, D channels of a head, P rotary pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.rope import Rotation
from worldloom.rollout.realtime.attention_memory import AttentionMemory, Size
from worldloom.rollout.realtime.block_pass import Seen
from worldloom.rollout.realtime.product import Product


class ContextMemory:
    """A memory of attention for every block, of a full context and one segment."""

    def __init__(
        self, config: TransformerConfig, make_memory: Callable[[Size], AttentionMemory]
    ) -> None:
        """Allocate a memory a block."""
        tokens = config.tokens_per_latent_frame
        self.num_context = config.num_context_latents * tokens
        self._num_own = config.segment_latents * tokens
        self._turns_values = config.position == "geometry"
        length = self.num_context + self._num_own
        size = (1, length, config.num_heads, config.head_dim)
        self._memories = [make_memory(size) for _ in range(config.num_blocks)]

    def place(self, blocks: list[BlockContext], rotation: Rotation) -> None:
        """Write the context's part: un-rotated keys and values [1, S, N, D], turned.

        Raises:
            ValueError: for a context of another size.
        """
        found = tuple(blocks[0].keys.shape[:2])
        if found != (1, self.num_context):
            message = (
                f"context of {found[1]} tokens and {found[0]} samples: expected one sample of "
                f"{self.num_context} tokens, a session's slots"
            )
            raise ValueError(message)
        of_values = rotation if self._turns_values else None
        for memory, block in zip(self._memories, blocks, strict=True):
            keys, values = (Product(x.flatten(2).flatten(0, 1)) for x in (block.keys, block.values))
            memory.write_keys(0, keys, None, rotation)
            memory.write_values(0, values, of_values)

    def seen(self, index: int, is_valid: Bool[Tensor, "1 S"] | None) -> Seen:
        """Return what block `index` sees; own tokens are always there."""
        mask = None
        if is_valid is not None:
            mask = torch.cat([is_valid, is_valid.new_ones(1, self._num_own)], dim=1)
        return Seen(self._memories[index], self.num_context, mask)
