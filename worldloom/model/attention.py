"""Attention: geometry-rotated self-attention with a context, and cross-attention to a prompt.

Letters: B batch, L query tokens, S key tokens, N heads, D channels of a head, E model width.
Keys and values of committed latents come in un-rotated (see `rope`); whoever reads them turns them.
It does not know segments, memory or timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldloom.model.rope import rotate

Rotation = tuple[Tensor, Tensor]


@dataclass
class BlockContext:
    """What one block's queries see beside their own tokens: keys and values [B, S, N, D]."""

    keys: Tensor
    values: Tensor

    def row(self, index: int) -> BlockContext:
        """Return one sample's keys and values, the batch axis kept."""
        return BlockContext(self.keys[index : index + 1], self.values[index : index + 1])


@dataclass
class ContextView:
    """Where a context lies for this reader: rotation [B, S, N, D/2] and what is there [B, S]."""

    rotation: Rotation
    is_valid: Tensor


class SelfAttention(nn.Module):
    """Multi-head attention over own tokens and an optional context, with RMS-normed q and k."""

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the four projections; names q, k, v, o are the field's."""
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps=1e-6)
        self.norm_k = nn.RMSNorm(dim, eps=1e-6)

    def keys_values(self, x_BLE: Tensor) -> BlockContext:
        """Return the un-rotated keys and values [B, L, N, D] of tokens."""
        shape = (*x_BLE.shape[:2], self.num_heads, -1)
        return BlockContext(
            keys=self.norm_k(self.k(x_BLE)).view(shape), values=self.v(x_BLE).view(shape)
        )

    def forward(
        self,
        x_BLE: Tensor,
        rotation: Rotation,
        context: BlockContext | None = None,
        view: ContextView | None = None,
    ) -> tuple[Tensor, BlockContext]:
        """Return the attended tokens [B, L, E] and their own un-rotated keys and values."""
        own = self.keys_values(x_BLE)
        q_BLND = rotate(
            self.norm_q(self.q(x_BLE)).view(*x_BLE.shape[:2], self.num_heads, -1), rotation
        )
        k_BSND, v_BSND = rotate(own.keys, rotation), rotate(own.values, rotation)
        mask = None
        if context is not None and view is not None:
            k_BSND = torch.cat([rotate(context.keys, view.rotation), k_BSND], dim=1)
            v_BSND = torch.cat([rotate(context.values, view.rotation), v_BSND], dim=1)
            own_valid = view.is_valid.new_ones(x_BLE.shape[0], x_BLE.shape[1])
            mask = torch.cat([view.is_valid, own_valid], dim=1)[:, None, None, :]
        out_BNLD = attend(
            q_BLND.transpose(1, 2),
            k_BSND.to(q_BLND.dtype).transpose(1, 2),
            v_BSND.to(q_BLND.dtype).transpose(1, 2),
            mask,
        )
        out_BLND = rotate(out_BNLD.transpose(1, 2), rotation, inverse=True)
        return self.o(out_BLND.flatten(2).to(x_BLE.dtype)), own


class CrossAttention(nn.Module):
    """Attention from tokens to prompt tokens [B, T, text_dim]."""

    def __init__(self, dim: int, text_dim: int, num_heads: int) -> None:
        """Build the four projections."""
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(text_dim, dim)
        self.v = nn.Linear(text_dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x_BLE: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Return what the prompt adds to each token [B, L, E]."""
        q, k, v = (
            layer(value).view(*value.shape[:2], self.num_heads, -1).transpose(1, 2)
            for layer, value in (
                (self.q, x_BLE),
                (self.k, prompt_embeds),
                (self.v, prompt_embeds),
            )
        )
        out = attend(q, k, v)
        attended: Tensor = self.o(out.transpose(1, 2).flatten(2))
        return attended


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention of [B, N, L, D]; the mask is boolean or an added bias.

    On a CPU that computes gradients the products are written out: the backward of torch's fused
    CPU kernel took three fifths of a training step in bfloat16.
    """
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            if mask.dtype == torch.bool
            else scores + mask.to(scores.dtype)
        )
    out: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return out
