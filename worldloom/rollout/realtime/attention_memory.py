"""Keys and values where attention reads them, and the reading: in full precision or in FP8.

A memory has one stretch for a context's tokens and, behind it, a segment's own; both are written
in place. The two kinds write and read alike and differ in how much they keep: FP8 (e4m3) is for
GPUs whose matrix units multiply it. It does not know blocks, nor which tokens are whose.

Letters: B samples, S tokens of the memory, R = B L rows of own or context tokens, E = N D width,
N heads, D channels of a head, P rotary pairs.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import triton
from jaxtyping import Bool, Float
from torch import Tensor, nn
from triton.tools.tensor_descriptor import TensorDescriptor

from worldloom.model.attention import attend
from worldloom.model.rope import Rotation
from worldloom.quantize.rows import FP8
from worldloom.rollout.realtime import triton_attention as kernels
from worldloom.rollout.realtime.product import Product
from worldloom.rollout.realtime.rows import turn_into

Rows = Float[Tensor, "R E"]
Mask = Bool[Tensor, "B S"]
Size = tuple[int, int, int, int]  # B, S, N, D

_BLOCK_N = 64
_LONG_QUERIES = 8192  # from here on larger tiles of queries are faster (measured on an H100)
_TRANSPOSED_TILE = 64
_ALIGNED_TOKENS = 16  # of 8 bits: what a tensor descriptor's rows must be a multiple of
_LOG2_E = 1.4426950408889634


@runtime_checkable
class AttentionMemory(Protocol):
    """Turned keys and values of one block."""

    def write_keys(
        self,
        first_row: int,
        keys: Product,
        norm: nn.RMSNorm | None,
        rotation: Rotation,
        plain: Rows | None = None,
    ) -> None:
        """Write normed and turned keys from a row on; `plain` takes them before they are turned."""

    def write_values(
        self,
        first_row: int,
        values: Product,
        rotation: Rotation | None,
        plain: Rows | None = None,
    ) -> None:
        """Write values from a row on, turned where a rotation is given; `plain` as with keys."""

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what queries see, normed and turned first; the mask is true where they may."""


class FullMemory:
    """Keys and values in the tokens' own type, read by torch's kernels."""

    def __init__(self, size: Size, dtype: torch.dtype, device: torch.device) -> None:
        """Allocate B samples of S tokens."""
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)

    def write_keys(
        self,
        first_row: int,
        keys: Product,
        norm: nn.RMSNorm | None,
        rotation: Rotation,
        plain: Rows | None = None,
    ) -> None:
        """Write normed and turned keys from a row on."""
        turn_into(self.keys, first_row, keys, norm, rotation, plain)

    def write_values(
        self,
        first_row: int,
        values: Product,
        rotation: Rotation | None,
        plain: Rows | None = None,
    ) -> None:
        """Write values from a row on, turned where a rotation is given; `plain` as with keys."""
        turn_into(self.values, first_row, values, None, rotation, plain)

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what queries see."""
        batch = len(self.keys)
        turned = self.keys.new_empty(batch, len(query.sums) // batch, *self.keys.shape[2:])
        turn_into(turned, 0, query, norm, rotation)
        seen = None if mask is None else mask[:, None, None]
        return read_heads(turned, self.keys, self.values, seen)


class Fp8Memory:
    """Keys and values in FP8, values with tokens last, read by our own kernel (GPUs only)."""

    def __init__(self, size: Size, device: torch.device) -> None:
        """Allocate B samples of S tokens."""
        batch, length, heads, head_dim = size
        self._size = size
        self._keys = torch.zeros(size, dtype=FP8, device=device)
        aligned = -(-length // _ALIGNED_TOKENS) * _ALIGNED_TOKENS
        width = batch * heads * head_dim
        self._values = torch.zeros(width, aligned, dtype=FP8, device=device)

    def write_keys(
        self,
        first_row: int,
        keys: Product,
        norm: nn.RMSNorm | None,
        rotation: Rotation,
        plain: Rows | None = None,
    ) -> None:
        """Write normed and turned keys from a row on."""
        turn_into(self._keys, first_row, keys, norm, rotation, plain)

    def write_values(
        self,
        first_row: int,
        values: Product,
        rotation: Rotation | None,
        plain: Rows | None = None,
    ) -> None:
        """Write values from a row on, turned where a rotation is given; `plain` as with keys."""
        batch, width = self._size[0], values.sums.shape[1]
        rows_a_sample = len(values.sums) // batch
        if rotation is not None or plain is not None:
            turned = values.sums.new_empty(batch, rows_a_sample, *self._size[2:])
            turn_into(turned, 0, values, None, rotation, plain)
            values = Product(turned.flatten(2).flatten(0, 1))
        tile = _TRANSPOSED_TILE
        grid = (triton.cdiv(rows_a_sample, tile), triton.cdiv(width, tile), batch)
        kernels.transpose_kernel[grid](
            values.sums, values.row_scale, values.column_scale, values.bias, self._values,
            rows_a_sample, width, self._values.shape[1], first_row,
            IS_SCALED=values.row_scale is not None, HAS_BIAS=values.bias is not None,
            BLOCK_R=tile, BLOCK_C=tile,
        )  # fmt: skip

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what queries see."""
        batch, _, heads, head_dim = self._size
        rows_a_sample = len(query.sums) // batch
        turned = query.sums.new_empty(batch, rows_a_sample, heads, head_dim, dtype=FP8)
        turn_into(turned, 0, query, norm, rotation)
        return fp8_attention(turned, self._keys, self._values, query.sums.dtype, mask)


def read_heads(
    query: Float[Tensor, "B L N D"],
    keys: Float[Tensor, "B S N D"],
    values: Float[Tensor, "B S N D"],
    mask: Bool[Tensor, "B 1 1 S"] | None = None,
) -> Rows:
    """Return attention in full precision as rows of all samples."""
    out = attend(query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), mask)
    rows: Tensor = out.transpose(1, 2).flatten(2).flatten(0, 1)
    return rows


def fp8_attention(
    query: Float[Tensor, "B L N D"],
    keys: Float[Tensor, "B S N D"],
    values: Float[Tensor, "BND aligned"],
    dtype: torch.dtype,
    mask: Mask | None = None,
) -> Rows:
    """Return attention of FP8 queries and keys over values whose tokens are last, as rows."""
    batch, num_queries, heads, head_dim = query.shape
    num_keys = keys.shape[1]
    out = torch.empty(batch * num_queries, heads * head_dim, dtype=dtype, device=query.device)
    by_rows = [x.flatten(2).flatten(0, 1) for x in (query, keys)]
    is_long = num_queries >= _LONG_QUERIES
    block_m, num_warps = (128, 8) if is_long else (64, 4)
    kernels.attention_kernel[(triton.cdiv(num_queries, block_m), heads, batch)](
        TensorDescriptor.from_tensor(by_rows[0], [block_m, head_dim]),
        TensorDescriptor.from_tensor(by_rows[1], [_BLOCK_N, head_dim]),
        TensorDescriptor.from_tensor(values, [head_dim, _BLOCK_N]),
        mask, out, num_queries, num_keys, head_dim**-0.5 * _LOG2_E,
        HAS_TAIL=num_keys % _BLOCK_N != 0, HAS_MASK=mask is not None,
        BLOCK_M=block_m, BLOCK_N=_BLOCK_N, D=head_dim, num_warps=num_warps, num_stages=3,
    )  # fmt: skip
    return out
