"""Keys and values where attention reads them, and the reading: in full precision or in FP8.

A memory has one stretch for a context's tokens and, behind it, a segment's own; both are written
in place. The two kinds write and read alike and differ in how much they keep: FP8 (e4m3) is for
GPUs whose matrix units multiply it. It does not know blocks, nor which tokens are whose.

Letters: B samples, S tokens of the memory, R = B L rows of own or context tokens, E = N D width,
N heads, D channels of a head, P rotary pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
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

_LONG_QUERIES = 2048  # from here on larger tiles of queries are faster (measured on an H100)
_TRANSPOSED_TILE = 64
_ALIGNED_TOKENS = 16  # of 8 bits: what a tensor descriptor's rows must be a multiple of
_LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class _Tile:
    """How our kernel cuts its work."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int
    most_registers: int | None = None  # of a thread, so that more programs share a processor


_LONG = _Tile(queries=128, keys=64, num_warps=4, num_stages=3)
_SHORT = _Tile(queries=64, keys=128, num_warps=4, num_stages=2, most_registers=168)


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
        self._size = size
        self._keys = torch.zeros(size, dtype=FP8, device=device)
        self._values = empty_values(size, device)

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
        batch = self._size[0]
        if rotation is not None or plain is not None:
            turned = values.sums.new_empty(batch, len(values.sums) // batch, *self._size[2:])
            turn_into(turned, 0, values, None, rotation, plain)
            values = Product(turned.flatten(2).flatten(0, 1))
        lay_values(values, self._values, batch, first_row)

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what queries see."""
        batch, _, heads, head_dim = self._size
        rows_a_sample = len(query.sums) // batch
        turned = query.sums.new_empty(batch, rows_a_sample, heads, head_dim, dtype=FP8)
        turn_into(turned, 0, query, norm, rotation)
        return fp8_attention(turned, self._keys, self._values, query.sums.dtype, mask)


def empty_values(size: Size, device: torch.device) -> Float[Tensor, "BND aligned"]:
    """Return room for values in FP8 with tokens last."""
    batch, length, heads, head_dim = size
    aligned = -(-length // _ALIGNED_TOKENS) * _ALIGNED_TOKENS
    return torch.zeros(batch * heads * head_dim, aligned, dtype=FP8, device=device)


def lay_values(
    values: Product, out: Float[Tensor, "BND aligned"], batch: int, first_row: int
) -> None:
    """Write values [B L, E] from a token on, finished, in the order that the kernel reads."""
    num_rows, width = values.sums.shape
    rows_a_sample, tile = num_rows // batch, _TRANSPOSED_TILE
    is_aligned = not (first_row % _ALIGNED_TOKENS or rows_a_sample % _ALIGNED_TOKENS)
    num_places = rows_a_sample if is_aligned else rows_a_sample + 2 * _ALIGNED_TOKENS
    kernels.transpose_kernel[(triton.cdiv(num_places, tile), triton.cdiv(width, tile), batch)](
        values.sums, values.row_scale, values.column_scale, values.bias, out,
        rows_a_sample, width, values.sums.stride(0), out.shape[1], first_row,
        IS_ALIGNED=is_aligned, IS_SCALED=values.row_scale is not None,
        HAS_BIAS=values.bias is not None, BLOCK_R=tile, BLOCK_C=tile,
    )  # fmt: skip


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
    tile = _LONG if num_queries >= _LONG_QUERIES else _SHORT
    kernels.attention_kernel[(triton.cdiv(num_queries, tile.queries), heads, batch)](
        TensorDescriptor.from_tensor(by_rows[0], [tile.queries, head_dim]),
        TensorDescriptor.from_tensor(by_rows[1], [tile.keys, head_dim]),
        TensorDescriptor.from_tensor(values, [head_dim, tile.keys]),
        mask, out, num_queries, num_keys, head_dim**-0.5 * _LOG2_E,
        HAS_TAIL=num_keys % tile.keys != 0, HAS_MASK=mask is not None,
        BLOCK_M=tile.queries, BLOCK_N=tile.keys, D=head_dim,
        num_warps=tile.num_warps, num_stages=tile.num_stages, maxnreg=tile.most_registers,
    )  # fmt: skip
    return out
