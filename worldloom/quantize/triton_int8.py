"""The INT8 product as a Triton kernel, for GPUs: integer sums, scales and bias in one pass.

    y[m, n] = sum_k(xq[m, k] wq[n, k]) * sx[m] * sw[n] + b[n]

The sums are 32-bit integers, so they are exact on any GPU; scales and bias are applied before
anything is written, which is what torch's own integer product lacks. Tiles are chosen by timing
them, once a shape. It does not know layers.

Letters: M tokens, K input features, N output features.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int8
from torch import Tensor

_GROUP_M = 8


def _tiles() -> list[triton.Config]:
    shapes = [(128, 256, 128, 8, 3), (128, 128, 128, 4, 4), (128, 128, 64, 4, 4)]
    shapes += [(64, 128, 128, 4, 4), (64, 64, 64, 4, 4), (128, 256, 64, 8, 4)]
    return [
        triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=warps, num_stages=depth)
        for m, n, k, warps, depth in shapes
    ]


@triton.autotune(_tiles(), key=["num_n", "num_k", "rows_bucket"])
@triton.jit
def _int8_product(
    x, w, x_scale, w_scale, bias, out,
    num_m, num_n, num_k, rows_bucket,  # noqa: ARG001 - the bucket is a key of tuning
    HAS_BIAS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):  # fmt: skip
    tiles_m, tiles_n = tl.cdiv(num_m, BLOCK_M), tl.cdiv(num_n, BLOCK_N)
    # Tiles go in groups of rows, so that neighbours share what they read.
    group = tl.program_id(0) // (GROUP_M * tiles_n)
    size = min(tiles_m - group * GROUP_M, GROUP_M)
    within = tl.program_id(0) % (GROUP_M * tiles_n)
    m = (group * GROUP_M + within % size) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (within // size) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    x_at = x + (m % num_m)[:, None] * num_k + k[None]
    w_at = w + (n % num_n)[None] * num_k + k[:, None]
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for start in range(0, num_k, BLOCK_K):
        inside = k < num_k - start
        left = tl.load(x_at, mask=inside[None], other=0)
        right = tl.load(w_at, mask=inside[:, None], other=0)
        sums = tl.dot(left, right, sums, out_dtype=tl.int32)
        x_at += BLOCK_K
        w_at += BLOCK_K
    rows = tl.load(x_scale + m, mask=m < num_m, other=0.0)
    columns = tl.load(w_scale + n, mask=n < num_n, other=0.0)
    y = sums.to(tl.float32) * rows[:, None] * columns[None]
    if HAS_BIAS:
        y += tl.load(bias + n, mask=n < num_n, other=0.0).to(tl.float32)[None]
    at = out + m.to(tl.int64)[:, None] * num_n + n[None]
    tl.store(at, y.to(out.dtype.element_ty), mask=(m < num_m)[:, None] & (n < num_n)[None])


def int8_linear(
    values_MK: Int8[Tensor, "M K"],
    scale_M1: Float[Tensor, "M 1"],
    weight_NK: Int8[Tensor, "N K"],
    weight_scale_N: Float[Tensor, " N"],
    bias_N: Float[Tensor, " N"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "M N"]:
    """Return the scaled product of INT8 rows and INT8 weights, plus a bias; all contiguous."""
    (num_m, num_k), num_n = values_MK.shape, len(weight_NK)
    out = torch.empty(num_m, num_n, dtype=dtype, device=values_MK.device)

    def grid(tile: dict[str, int]) -> tuple[int]:
        tiles: int = triton.cdiv(num_m, tile["BLOCK_M"]) * triton.cdiv(num_n, tile["BLOCK_N"])
        return (tiles,)

    _int8_product[grid](
        values_MK, weight_NK, scale_M1, weight_scale_N, bias_N, out,
        num_m, num_n, num_k, num_m.bit_length(),
        HAS_BIAS=bias_N is not None, GROUP_M=_GROUP_M,
    )  # fmt: skip
    return out
