"""The world-model transformer: noisy latents of a segment to their velocity, with a context.

Two passes share every weight. `commit` reads clean latents, each alone, and returns the keys and
values that later segments see: a pure function of that latent, its pose and its actions, so they
can be dropped and recomputed exactly. `denoise` reads a noisy segment together with a context of
committed keys and values, and returns the velocity of flow matching.
It does not know which latents make up the context, nor the schedule of noise.

Letters: B batch, C channels, T latents, H W rows and columns, P tokens of a latent, L = T P,
E width, N heads, D channels of a head, S context tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.attention import BlockContext, ContextView
from worldloom.model.block import BlockConditions, TransformerBlock
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import RAY_DIM
from worldloom.model.rope import GeometryRope
from worldloom.model.text_encoder import TextEncoder

Latents = Float[Tensor, "B C T H W"]

_TIME_EMBED_DIM = 128


@dataclass
class SegmentInput:
    """Latents of a segment with everything that conditions them."""

    latents: Tensor  # [B, C, T, H, W]
    sigma: Tensor  # [B], 0 clean to 1 noise
    rays: Tensor  # [B, T, P, patch^2 * 6]
    coordinates: Tensor  # [B, L, 5]
    keyboard: Tensor  # [B, T, W, keys]: the window of actions of each latent
    mouse: Tensor  # [B, T, W, axes]
    prompt_tokens: Tensor  # [B, words]


@dataclass
class Context:
    """Committed keys and values that a segment sees, block by block, and where they lie."""

    blocks: list[BlockContext]  # each [B, S, N, D]
    coordinates: Tensor  # [B, S, 5]
    is_valid: Tensor  # [B, S]


class WorldModelTransformer(nn.Module):
    """Stream transformer of Matrix-Game 3.0's kind at any size."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build the network; output, gates of cameras and actions start at zero."""
        super().__init__()
        self.config = config
        patch_dim = config.latent_channels * config.patch_size**2
        self.patch_embed = nn.Linear(patch_dim, config.dim)
        self.place_embed = nn.Parameter(
            torch.randn(1, config.tokens_per_latent_frame, config.dim) * 0.02
        )
        self.ray_embed = nn.Linear(RAY_DIM * config.patch_size**2, config.dim)
        self.text_encoder = TextEncoder(config.text_vocabulary, config.text_length, config.text_dim)
        self.time_embed = nn.Sequential(
            nn.Linear(_TIME_EMBED_DIM, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(config.dim, 6 * config.dim))
        self.rope = GeometryRope(config.head_dim, config.num_heads, config.rope_jitter)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                config,
                has_actions=index < config.num_action_blocks,
                has_text=index < config.num_text_blocks,
            )
            for index in range(config.num_blocks)
        )
        self.head_norm = nn.LayerNorm(config.dim, elementwise_affine=False, eps=1e-6)
        self.head_modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)
        self.head = nn.Linear(config.dim, patch_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def commit(self, segment: SegmentInput) -> list[BlockContext]:
        """Return the un-rotated keys and values [B, P, N, D] of clean latents, T = 1 each."""
        x_BLE, conditions, _ = self._embed(segment)
        committed: list[BlockContext] = []
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            assert isinstance(block, TransformerBlock)
            if index == last:
                committed.append(block.keys_values(x_BLE, conditions))
            else:
                x_BLE, own = block(x_BLE, conditions)
                committed.append(own)
        return committed

    def denoise(self, segment: SegmentInput, context: Context | None) -> Latents:
        """Return the velocity (noise minus data) of the segment's latents."""
        x_BLE, conditions, time_BE = self._embed(segment)
        view = None
        if context is not None:
            view = ContextView(self.rope(context.coordinates), context.is_valid)
        for index, block in enumerate(self.blocks):
            block_context = context.blocks[index] if context is not None else None
            x_BLE, _ = block(x_BLE, conditions, block_context, view)
        shift, scale = (time_BE[:, None] + self.head_modulation).chunk(2, dim=1)
        velocity = self.head(self.head_norm(x_BLE) * (1 + scale) + shift)
        return self._to_latents(velocity, segment.latents.shape[2])

    def _embed(self, segment: SegmentInput) -> tuple[Tensor, BlockConditions, Tensor]:
        config = self.config
        latents = segment.latents.shape[2]
        x_BLE = self.patch_embed(self._to_patches(segment.latents))
        x_BLE = x_BLE + self.place_embed.repeat(1, latents, 1)
        time_BE = self.time_embed(_sinusoid(segment.sigma).to(x_BLE.dtype))
        conditions = BlockConditions(
            modulation=self.time_projection(time_BE).unflatten(1, (6, config.dim)),
            rays=self.ray_embed(segment.rays.flatten(1, 2)),
            rotation=self.rope(segment.coordinates),
            prompt_embeds=self.text_encoder(segment.prompt_tokens),
            keyboard=segment.keyboard,
            mouse=segment.mouse,
        )
        return x_BLE, conditions, time_BE

    def _to_patches(self, latents: Latents) -> Tensor:
        """Return [B, T P, C patch^2] of latents [B, C, T, H, W]."""
        patch = self.config.patch_size
        x: Tensor = latents.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))
        return x.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)

    def _to_latents(self, patches: Tensor, latents: int) -> Latents:
        """Undo `_to_patches`."""
        config = self.config
        patch = config.patch_size
        x = patches.view(
            -1, latents, config.token_rows, config.token_cols, config.latent_channels, patch, patch
        )
        return x.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


def _sinusoid(sigma: Tensor) -> Tensor:
    """Return the sinusoidal embedding [B, 128] of noise levels in [0, 1], as timesteps in 1000."""
    half = _TIME_EMBED_DIM // 2
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(half, device=sigma.device, dtype=torch.float32) / half
    )
    angles = 1000 * sigma.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
