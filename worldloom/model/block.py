"""One transformer block: attention, camera, prompt, actions, feed-forward, in that order.

x += g1 SelfAttn(AdaLN1 x); x <- (1 + scale) x + shift; x += CrossAttn(LN3 x), or x = LN3(x) +
CrossAttn(LN3 x) where the configuration says so; x += Actions(x); x += g2 FFN(AdaLN2 x). The order
is Matrix-Game 3.0's. It does not know what a segment is.

Letters: B batch, L tokens, E width, T latents, P tokens of a latent (L = T P), W prompt words.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.action_module import ActionModule
from worldloom.model.attention import (
    BlockContext,
    ContextView,
    CrossAttention,
    SelfAttention,
    Tokens,
)
from worldloom.model.camera_injection import CameraInjector
from worldloom.model.config import TransformerConfig
from worldloom.model.residual import added, modulated
from worldloom.model.rope import Rotation

Modulation = Float[Tensor, "B T 6 E"]

_NUM_MODULATIONS = 6
_EPS = 1e-6


@dataclass
class SegmentPlan:
    """What all blocks are told of a segment, the same at every denoising step."""

    rotation: Rotation  # of the tokens' coordinates
    keyboard: Tensor  # [B, T, W, keys]
    mouse: Tensor  # [B, T, W, axes]
    num_memory: int  # leading latents that are memory
    is_valid: Tensor | None = None  # [B, L] tokens that are there; None if all are


@dataclass
class BlockPlan:
    """What one block works out once for all denoising steps of a segment."""

    camera_scale: Tensor  # [B, L, E]
    camera_shift: Tensor  # [B, L, E]
    prompt: BlockContext | None  # [B, W, N, D]


class TransformerBlock(nn.Module):
    """A block of the world-model transformer."""

    def __init__(self, config: TransformerConfig, index: int) -> None:
        """Build the block's layers; early blocks have actions and read the prompt."""
        super().__init__()
        dim = config.dim
        self.is_residual_normed = config.is_residual_normed
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=_EPS)
        self.self_attn = SelfAttention(
            dim, config.num_heads, turns_values=config.position == "geometry"
        )
        self.camera = CameraInjector(dim)
        has_text = index < config.num_text_blocks
        self.norm3 = nn.LayerNorm(dim, eps=_EPS) if has_text else None
        self.cross_attn = CrossAttention(dim, config.num_heads) if has_text else None
        self.actions = ActionModule(config) if index < config.num_action_blocks else None
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=_EPS)
        self.ffn = nn.Sequential(
            nn.Linear(dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, dim),
        )
        self.modulation = nn.Parameter(torch.randn(1, _NUM_MODULATIONS, dim) / dim**0.5)

    def plan(self, rays_BLE: Tokens, prompt_BWE: Float[Tensor, "B W E"]) -> BlockPlan:
        """Return what this block needs of rays and prompt."""
        scale, shift = self.camera(rays_BLE)
        prompt = None if self.cross_attn is None else self.cross_attn.keys_values(prompt_BWE)
        return BlockPlan(scale, shift, prompt)

    def keys_values(self, x_BLE: Tokens, modulation: Modulation) -> BlockContext:
        """Return the un-rotated keys and values [B, L, N, D] of the tokens.

        modulation [B, T, 6, E] is that of each latent's timestep.
        """
        shift, scale, *_ = self._modulations(modulation)
        return self.self_attn.keys_values(modulated(self.norm1, x_BLE, scale, shift))

    def forward(
        self,
        x_BLE: Tokens,
        modulation: Modulation,
        segment: SegmentPlan,
        plan: BlockPlan,
        own: BlockContext,
        context: BlockContext | None = None,
        view: ContextView | None = None,
    ) -> Tokens:
        """Return the tokens after the block; `own` is what `keys_values` returned for them."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulations(modulation)
        normed = modulated(self.norm1, x_BLE, scale1, shift1)
        attended = self.self_attn(
            normed, segment.rotation, own, context, view, own_valid=segment.is_valid
        )
        x_BLE = added(x_BLE, attended, gate1, (plan.camera_scale, plan.camera_shift))
        if self.cross_attn is not None and self.norm3 is not None and plan.prompt is not None:
            normed = self.norm3(x_BLE)
            base = normed if self.is_residual_normed else x_BLE
            x_BLE = base + self.cross_attn(normed, plan.prompt)
        if self.actions is not None:
            x_BTPE = x_BLE.unflatten(1, (segment.keyboard.shape[1], -1))
            said = self.actions(x_BTPE, segment.keyboard, segment.mouse, segment.num_memory)
            x_BLE = said.flatten(1, 2)
        fed: Tensor = self.ffn(modulated(self.norm2, x_BLE, scale2, shift2))
        return added(x_BLE, fed, gate2)

    def _modulations(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Return six [B, T, E]."""
        return (modulation + self.modulation[:, None]).unbind(2)
