"""Attention: rotary self-attention with a context, and cross-attention to a prompt.

Letters: B batch, L query tokens, S context tokens, W prompt words, N heads, D channels of a head,
E model width. Keys and values of committed latents come in un-rotated (see `rope`); whoever reads
them turns them. It does not know segments, memory or timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldloom.model.rope import Rotation, rotate

Tokens = Float[Tensor, "B L E"]
Heads = Float[Tensor, "B N L D"]
Mask = Bool[Tensor, "B #N #L S"]

_EPS = 1e-6
_FEW_KEYS = 4


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
    """Where a context lies for this reader: rotation [B, S, N, D/2] and what is there [B, S].

    `is_valid` is None when all of it is there, which lets attention run without a mask.
    """

    rotation: Rotation
    is_valid: Tensor | None


class SelfAttention(nn.Module):
    """Multi-head attention over own tokens and an optional context, with RMS-normed q and k."""

    def __init__(self, dim: int, num_heads: int, *, turns_values: bool) -> None:
        """Build the four projections; names q, k, v, o are the field's."""
        super().__init__()
        self.num_heads = num_heads
        self.turns_values = turns_values
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps=_EPS)
        self.norm_k = nn.RMSNorm(dim, eps=_EPS)

    def keys_values(self, x_BLE: Tokens) -> BlockContext:
        """Return the un-rotated keys and values [B, L, N, D] of tokens."""
        return BlockContext(
            keys=_split(self.norm_k(self.k(x_BLE)), self.num_heads),
            values=_split(self.v(x_BLE), self.num_heads),
        )

    def forward(
        self,
        x_BLE: Tokens,
        rotation: Rotation,
        own: BlockContext,
        context: BlockContext | None = None,
        view: ContextView | None = None,
        own_valid: Bool[Tensor, "B L"] | None = None,
    ) -> Tokens:
        """Return the attended tokens; `own` are their un-rotated keys and values.

        Of the own tokens nobody looks at those that `own_valid` leaves out.
        """
        q_BLND = rotate(_split(self.norm_q(self.q(x_BLE)), self.num_heads), rotation)
        k_BSND, v_BSND, mask = self._seen(own, rotation, context, view)
        if own_valid is not None:
            assert context is None, "a sequence with tokens left out has no context beside it"
            mask = own_valid[:, None, None, :]
        out_BNLD = attend(
            q_BLND.to(x_BLE.dtype).transpose(1, 2),
            k_BSND.to(x_BLE.dtype).transpose(1, 2),
            v_BSND.to(x_BLE.dtype).transpose(1, 2),
            mask,
        )
        out_BLND = out_BNLD.transpose(1, 2)
        if self.turns_values:
            out_BLND = rotate(out_BLND, rotation, inverse=True)
        attended: Tensor = self.o(out_BLND.flatten(2).to(x_BLE.dtype))
        return attended

    def _seen(
        self,
        own: BlockContext,
        rotation: Rotation,
        context: BlockContext | None,
        view: ContextView | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return keys, values [B, S + L, N, D] turned to their places, and the mask."""
        keys, values = rotate(own.keys, rotation), self._turn(own.values, rotation)
        if context is None or view is None:
            return keys, values, None
        keys = torch.cat([rotate(context.keys, view.rotation), keys], dim=1)
        values = torch.cat([self._turn(context.values, view.rotation), values], dim=1)
        if view.is_valid is None:
            return keys, values, None
        own_valid = view.is_valid.new_ones(own.keys.shape[:2])
        mask = torch.cat([view.is_valid, own_valid], dim=1)[:, None, None, :]
        return keys, values, mask

    def _turn(self, values: Tensor, rotation: Rotation) -> Tensor:
        return rotate(values, rotation) if self.turns_values else values


class CrossAttention(nn.Module):
    """Attention from tokens to an embedded prompt, with RMS-normed q and k."""

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the four projections."""
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps=_EPS)
        self.norm_k = nn.RMSNorm(dim, eps=_EPS)

    def keys_values(self, prompt_BWE: Float[Tensor, "B W E"]) -> BlockContext:
        """Return the prompt's keys and values [B, W, N, D]; they serve every denoising step."""
        return BlockContext(
            keys=_split(self.norm_k(self.k(prompt_BWE)), self.num_heads),
            values=_split(self.v(prompt_BWE), self.num_heads),
        )

    def forward(self, x_BLE: Tokens, prompt: BlockContext) -> Tokens:
        """Return what the prompt adds to each token."""
        query = _split(self.norm_q(self.q(x_BLE)), self.num_heads)
        out = attend(
            query.transpose(1, 2), prompt.keys.transpose(1, 2), prompt.values.transpose(1, 2)
        )
        attended: Tensor = self.o(out.transpose(1, 2).flatten(2))
        return attended


def attend(
    query: Heads,
    key: Float[Tensor, "B N S D"],
    value: Float[Tensor, "B N S D"],
    mask: Mask | None = None,
) -> Heads:
    """Return scaled dot-product attention; the mask is true where a query may look.

    Fused kernels work on tiles of dozens of keys, so over a handful of them on a GPU the products
    are written out, for a compiler to fuse: the fused kernel's backward over three keys took most
    of a training step. Written out too, as products of matrices, is what a CPU computes gradients
    of: the backward of torch's fused CPU kernel took three fifths of a step in bfloat16.
    """
    if query.is_cuda and key.shape[-2] <= _FEW_KEYS:
        return attend_to_few(query, key, value, mask)
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    out: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return out


def attend_to_few(
    query: Heads,
    key: Float[Tensor, "B N S D"],
    value: Float[Tensor, "B N S D"],
    mask: Mask | None = None,
) -> Heads:
    """Return what `attend` returns, number by number in float32: for a handful of keys."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scores = (query.to(dtype)[..., None, :] * key.to(dtype)[..., None, :, :]).sum(-1)
    scores = scores * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(dtype).min)
    out: Tensor = (scores.softmax(dim=-1)[..., None] * value.to(dtype)[..., None, :, :]).sum(-2)
    return out.to(value.dtype)


def _split(x_BLE: Tensor, num_heads: int) -> Tensor:
    heads: Tensor = x_BLE.unflatten(-1, (num_heads, -1))
    return heads
