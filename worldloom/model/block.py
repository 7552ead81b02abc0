"""One transformer block: attention, camera, prompt, actions, feed-forward, in that order.

x += g1 SelfAttn(AdaLN1 x); x <- (1 + scale) x + shift; x += CrossAttn(LN x); x += Actions(x);
x += g2 FFN(AdaLN2 x). The order is Matrix-Game 3.0's. It does not know what a segment is.

Letters: B batch, L tokens, E width, T latents, P tokens of a latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldloom.model.action_module import ActionModule
from worldloom.model.attention import (
    BlockContext,
    ContextView,
    CrossAttention,
    Rotation,
    SelfAttention,
)
from worldloom.model.camera_injection import CameraInjector
from worldloom.model.config import TransformerConfig

_NUM_MODULATIONS = 6


@dataclass
class BlockConditions:
    """What every block is told beside the tokens."""

    modulation: Tensor  # [B, 6, E], of the timestep
    rays: Tensor  # [B, L, E], embedded
    rotation: Rotation  # of the tokens' coordinates
    prompt_embeds: Tensor  # [B, words, text_dim]
    keyboard: Tensor  # [B, T, W, keys]
    mouse: Tensor  # [B, T, W, axes]


class TransformerBlock(nn.Module):
    """A block of the world-model transformer."""

    def __init__(self, config: TransformerConfig, *, has_actions: bool, has_text: bool) -> None:
        """Build the block's layers."""
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.self_attn = SelfAttention(dim, config.num_heads)
        self.camera = CameraInjector(dim)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6) if has_text else None
        self.cross_attn = (
            CrossAttention(dim, config.text_dim, config.num_heads) if has_text else None
        )
        self.actions = (
            ActionModule(
                dim, config.action_dim, config.action_num_heads, config.action_window_frames
            )
            if has_actions
            else None
        )
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.ffn = nn.Sequential(
            nn.Linear(dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_dim, dim),
        )
        self.modulation = nn.Parameter(torch.randn(1, _NUM_MODULATIONS, dim) / dim**0.5)

    def keys_values(self, x_BLE: Tensor, conditions: BlockConditions) -> BlockContext:
        """Return only the un-rotated keys and values of the tokens (all that a last block owes)."""
        shift, scale, *_ = self._modulations(conditions)
        return self.self_attn.keys_values(self.norm1(x_BLE) * (1 + scale) + shift)

    def forward(
        self,
        x_BLE: Tensor,
        conditions: BlockConditions,
        context: BlockContext | None = None,
        view: ContextView | None = None,
    ) -> tuple[Tensor, BlockContext]:
        """Return the tokens after the block and their own un-rotated keys and values."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self._modulations(conditions)
        attended, own = self.self_attn(
            self.norm1(x_BLE) * (1 + scale1) + shift1, conditions.rotation, context, view
        )
        x_BLE = x_BLE + gate1 * attended
        camera_scale, camera_shift = self.camera(conditions.rays)
        x_BLE = x_BLE * (1 + camera_scale) + camera_shift
        if self.cross_attn is not None and self.norm3 is not None:
            x_BLE = x_BLE + self.cross_attn(self.norm3(x_BLE), conditions.prompt_embeds)
        if self.actions is not None:
            latents = conditions.keyboard.shape[1]
            x_BTPE = x_BLE.unflatten(1, (latents, -1))
            x_BLE = self.actions(x_BTPE, conditions.keyboard, conditions.mouse).flatten(1, 2)
        x_BLE = x_BLE + gate2 * self.ffn(self.norm2(x_BLE) * (1 + scale2) + shift2)
        return x_BLE, own

    def _modulations(self, conditions: BlockConditions) -> tuple[Tensor, ...]:
        return (conditions.modulation + self.modulation).chunk(_NUM_MODULATIONS, dim=1)
