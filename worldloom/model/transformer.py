"""The world-model transformer: noisy latents of a segment to their velocity.

One network, three passes over the same weights:

* `prepare` works out what poses, actions and prompt say to every block: once a segment.
* `denoise` reads a segment's latents, each at its own noise level, beside a context of committed
  keys and values (stream layout), or with memory and past as clean latents of the same sequence
  (reference layout), and returns the velocity of flow matching.
* `commit` reads clean latents and returns their un-rotated keys and values, block by block, for
  later segments to see. Without a context they are a pure function of those latents, their poses
  and actions, so they can be dropped and recomputed exactly.

It does not know which latents make up a segment or a context, nor the schedule of noise.

Letters: B batch, C channels, T latents, H W rows and columns, P tokens of a latent, L = T P,
E width, N heads, D channels of a head, S context tokens, K coordinates, W words or window frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.errors import ConfigError
from worldloom.model.attention import BlockContext, ContextView
from worldloom.model.block import BlockPlan, SegmentPlan, TransformerBlock
from worldloom.model.camera_injection import RayEmbedding
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import ray_dim
from worldloom.model.rope import RotaryEmbedding
from worldloom.model.text.text_encoder import TextEncoder

Latents = Float[Tensor, "B C T H W"]
Sigma = Float[Tensor, "B T"]

TIMESTEPS = 1000
_TIME_EMBED_DIM = 256


@dataclass
class SegmentConditions:
    """What conditions a segment of T latents, apart from its noise."""

    rays: Tensor  # [B, T, P, R]
    coordinates: Tensor  # [B, L, K]
    keyboard: Tensor  # [B, T, W, keys]: the window of actions of each latent
    mouse: Tensor  # [B, T, W, axes]
    prompt: Tensor  # [B, W] token numbers (learned encoder), or [B, W, text_dim] embeddings
    num_memory: int = 0  # leading latents that are memory (reference layout)
    is_valid: Tensor | None = None  # [B, L] tokens that are there; None if all are


@dataclass
class Context:
    """Committed keys and values that a segment sees, and where they lie.

    `blocks` holds them block by block, each [B, S, N, D]. While whole clips are committed at once
    a segment sees keys that are being computed in the same pass: then `of_own` picks them out of
    each block's own keys and values.
    """

    coordinates: Tensor  # [B, S, K]
    is_valid: Tensor | None  # [B, S]; None if all is there
    blocks: list[BlockContext] | None = None
    of_own: Callable[[int, BlockContext], BlockContext] | None = None
    view: ContextView | None = None  # its places, where they are worked out already

    def block(self, index: int, own: BlockContext) -> BlockContext:
        """Return what block `index` sees beside its own tokens."""
        if self.of_own is not None:
            return self.of_own(index, own)
        assert self.blocks is not None, "a context holds keys and values or says where they are"
        return self.blocks[index]


@dataclass
class PreparedSegment:
    """A segment's conditions as the blocks read them."""

    segment: SegmentPlan
    blocks: list[BlockPlan]


class WorldModelTransformer(nn.Module):
    """Transformer of Matrix-Game 3.0 at any size, in its own layout or as a stream."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build the network; output, gates of cameras and actions start at zero."""
        super().__init__()
        self.config = config
        self.patch_embed = nn.Linear(config.patch_channels, config.dim)
        self.place_embed = (
            nn.Parameter(torch.randn(config.tokens_per_latent_frame, config.dim) * 0.02)
            if config.has_place_embedding
            else None
        )
        self.ray_embed = RayEmbedding(ray_dim(config), config.dim)
        self.text_encoder = (
            TextEncoder(config.text_vocabulary, config.text_length, config.text_dim)
            if config.text == "learned"
            else None
        )
        self.text_embed = nn.Sequential(
            nn.Linear(config.text_dim, config.dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.dim, config.dim),
        )
        self.time_embed = nn.Sequential(
            nn.Linear(_TIME_EMBED_DIM, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(config.dim, 6 * config.dim))
        self.rope = RotaryEmbedding(config)
        self.blocks = nn.ModuleList(
            TransformerBlock(config, index) for index in range(config.num_blocks)
        )
        self.head_norm = nn.LayerNorm(config.dim, elementwise_affine=False, eps=1e-6)
        self.head_modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)
        self.head = nn.Linear(config.dim, config.patch_channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def prepare(self, conditions: SegmentConditions) -> PreparedSegment:
        """Work out what every denoising step of a segment shares."""
        prompt = conditions.prompt
        if self.text_encoder is not None:
            prompt = self.text_encoder(prompt)
        prompt_BWE = self.text_embed(prompt.to(self.dtype))
        rays_BLE = self.ray_embed(conditions.rays.flatten(1, 2).to(self.dtype))
        segment = SegmentPlan(
            rotation=self.rope(conditions.coordinates),
            keyboard=conditions.keyboard.to(self.dtype),
            mouse=conditions.mouse.to(self.dtype),
            num_memory=conditions.num_memory,
            is_valid=conditions.is_valid,
        )
        return PreparedSegment(
            segment, [block.plan(rays_BLE, prompt_BWE) for block in self.typed_blocks()]
        )

    def placed(self, context: Context) -> Context:
        """Return a context whose places are worked out, for all denoising steps of a segment."""
        return replace(context, view=self._view(context))

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> Latents:
        """Return the velocity (noise minus data) of latents whose noise levels are sigma."""
        x_BLE, time_BTE, modulation = self.embed(latents, sigma)
        view = self._view(context)
        for index, block in enumerate(self.typed_blocks()):
            own = block.keys_values(x_BLE, modulation)
            seen = None if context is None else context.block(index, own)
            plan = prepared.blocks[index]
            x_BLE = block(x_BLE, modulation, prepared.segment, plan, own, seen, view)
        shift, scale = (time_BTE[:, :, None] + self.head_modulation[:, None]).unbind(2)
        normed = self.head_norm(x_BLE).unflatten(1, (latents.shape[2], -1))
        modulated = normed * (1 + scale[:, :, None]) + shift[:, :, None]
        return self.to_latents(self.head(modulated))

    def commit(
        self, latents: Latents, prepared: PreparedSegment, context: Context | None = None
    ) -> list[BlockContext]:
        """Return the un-rotated keys and values [B, L, N, D] of clean latents, block by block.

        Raises:
            ConfigError: where nothing is ever committed.
        """
        if self.config.reach == "bidirectional":
            message = (
                "reach 'bidirectional' commits nothing, so it serves comparisons alone: expected "
                "a model of reach latent, segment or window"
            )
            raise ConfigError(message)
        sigma = latents.new_zeros(latents.shape[0], latents.shape[2])
        x_BLE, _, modulation = self.embed(latents, sigma)
        view = self._view(context)
        committed: list[BlockContext] = []
        blocks = self.typed_blocks()
        for index, block in enumerate(blocks):
            own = block.keys_values(x_BLE, modulation)
            committed.append(own)
            if index < len(blocks) - 1:  # nothing reads the last block's tokens
                seen = None if context is None else context.block(index, own)
                plan = prepared.blocks[index]
                x_BLE = block(x_BLE, modulation, prepared.segment, plan, own, seen, view)
        return committed

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that tokens are computed in."""
        return self.patch_embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.patch_embed.weight.device

    def typed_blocks(self) -> list[TransformerBlock]:
        """Return the blocks as what they are."""
        blocks = list(self.blocks.children())
        return [block for block in blocks if isinstance(block, TransformerBlock)]

    def _view(self, context: Context | None) -> ContextView | None:
        if context is None:
            return None
        if context.view is not None:
            return context.view
        return ContextView(self.rope(context.coordinates), context.is_valid)

    def embed(
        self, latents: Latents, sigma: Sigma
    ) -> tuple[Float[Tensor, "B L E"], Float[Tensor, "B T E"], Float[Tensor, "B T 6 E"]]:
        """Return tokens [B, L, E], embedded timesteps [B, T, E] and modulations [B, T, 6, E]."""
        x_BLE = self.patch_embed(self.to_patches(latents).to(self.dtype))
        if self.place_embed is not None:
            x_BLE = x_BLE + self.place_embed.repeat(latents.shape[2], 1)
        time_BTE = self.time_embed(timestep_embedding(TIMESTEPS * sigma).to(self.dtype))
        return x_BLE, time_BTE, self.time_projection(time_BTE).unflatten(-1, (6, -1))

    def to_patches(self, latents: Latents) -> Float[Tensor, "B L patch"]:
        """Return [B, T P, C patch^2] of latents [B, C, T, H, W]; a patch is (C, row, column)."""
        patch = self.config.patch_size
        x: Tensor = latents.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))
        return x.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)

    def to_latents(self, patches: Float[Tensor, "B T P patch"]) -> Latents:
        """Return [B, C, T, H, W] of [B, T, P, patch^2 C]; a patch is (row, column, C)."""
        config = self.config
        patch = config.patch_size
        x: Tensor = patches.unflatten(-1, (patch, patch, -1))
        x = x.unflatten(2, (config.token_rows, config.token_cols))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def timestep_embedding(timesteps: Float[Tensor, "B T"]) -> Float[Tensor, "B T 256"]:
    """Return the sinusoidal embedding (cosines, then sines) of timesteps in [0, 1000].

    In float64, as Wan computes it: in float32 the angles of late timesteps are off by 6e-5.
    """
    half = _TIME_EMBED_DIM // 2
    exponent = torch.arange(half, device=timesteps.device, dtype=torch.float64) / half
    angles = timesteps.double()[..., None] * torch.exp(-math.log(10_000) * exponent)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
