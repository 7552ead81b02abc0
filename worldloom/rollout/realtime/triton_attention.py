"""Attention in FP8 as a Triton kernel for Hopper: every query sees every key, no mask in the loop.

Both products run in e4m3 with float32 sums. Keys come with a head's channels last, values with
tokens last, because Hopper's 8-bit products read both operands along the axis they sum over. Tokens
of values lie in another order, the same in every sixteen: that in which a thread holds the scores
it worked out, so that weights go from the first product into the second without changing hands. The
weights of the softmax are multiplied by 256 before they are rounded, which cancels in the division,
so that small ones are not lost. Reads go through tensor descriptors (the bulk copy engine). It does
not know where queries, keys and values come from.

Letters: M queries and N keys of a tile, D channels of a head.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def token_at(place):
    """Return whose values lie at a place: at 4 q + 2 a + b of sixteen, those of 8 a + 2 q + b."""
    among = place % 16
    return place // 16 * 16 + among // 2 % 2 * 8 + among // 4 * 2 + among % 2


@triton.jit
def laid_as_values(weights, M: tl.constexpr, N: tl.constexpr):
    """Return the columns of a tile in the order of the values' tokens."""
    by_thread = tl.reshape(weights, (M, N // 16, 2, 4, 2))
    return tl.reshape(tl.permute(by_thread, (0, 1, 3, 2, 4)), (M, N))


@triton.jit
def attention_kernel(
    queries, keys, values, is_there, out, seq_queries, seq_keys, scale,
    HAS_TAIL: tl.constexpr, HAS_MASK: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Mix values [B N D, S] by queries [B L, N D] and keys [B S, N D] into [B L, N D]."""
    head, sample = tl.program_id(1), tl.program_id(2)
    first_query, first_key = tl.program_id(0) * BLOCK_M, sample * seq_keys
    first_value = (sample * tl.num_programs(1) + head) * D
    query = queries.load([sample * seq_queries + first_query, head * D])
    most = tl.full((BLOCK_M,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    mixed = tl.zeros((BLOCK_M, D), tl.float32)
    whole = seq_keys // BLOCK_N * BLOCK_N
    for start in tl.range(0, whole, BLOCK_N):
        scores = tl.dot(query, keys.load([first_key + start, head * D]).T)
        if HAS_MASK:
            seen = tl.load(is_there + first_key + start + tl.arange(0, BLOCK_N))
            scores = tl.where((seen != 0)[None], scores, -1e30)
        now = tl.maximum(most, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - (now - 8.0)[:, None])
        shrink = tl.exp2(most - now)
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None]
        turned = values.load([first_value, start])
        laid = laid_as_values(weights.to(turned.dtype), BLOCK_M, BLOCK_N)
        mixed = tl.dot(laid, turned.T, mixed)
        most = now
    if HAS_TAIL:  # the same again with what lies behind the last key masked
        n = whole + tl.arange(0, BLOCK_N)
        scores = tl.dot(query, keys.load([first_key + whole, head * D]).T)
        is_seen = n < seq_keys
        if HAS_MASK:
            is_seen &= tl.load(is_there + first_key + n, mask=n < seq_keys, other=0) != 0
        scores = tl.where(is_seen[None], scores, -1e30)
        now = tl.maximum(most, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - (now - 8.0)[:, None])
        shrink = tl.exp2(most - now)
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None]
        turned = values.load([first_value, whole])
        laid = laid_as_values(weights.to(turned.dtype), BLOCK_M, BLOCK_N)
        mixed = tl.dot(laid, turned.T, mixed)
    mixed = mixed / total[:, None]
    m = first_query + tl.arange(0, BLOCK_M)
    width = tl.num_programs(1) * D
    first = out + sample.to(tl.int64) * seq_queries * width + head * D
    # Within a sample 32 bits are enough, and wider ones would cost a program its registers.
    at = m[:, None] * width + tl.arange(0, D)[None]
    tl.store(first + at, mixed.to(out.dtype.element_ty), mask=(m < seq_queries)[:, None])


@triton.jit
def transpose_kernel(
    sums, row_scale, column_scale, bias, out,
    rows_a_sample, width, sums_stride, out_length, first_row,
    IS_ALIGNED: tl.constexpr, IS_SCALED: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write rows [B L, E] as columns of [B E, S], those of tokens from `first_row` on."""
    sample = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    # What is permuted is the order of reading, so that writing is in one stretch.
    r = token_at(place) - (0 if IS_ALIGNED else first_row % 16)
    is_row, is_column = (r >= 0) & (r < rows_a_sample), c < width
    row = sample * rows_a_sample + r
    at = sums + row[:, None] * sums_stride + c[None]
    tile = tl.load(at, mask=is_row[:, None] & is_column[None], other=0.0)
    if IS_SCALED:
        by_row = tl.load(row_scale + row, mask=is_row, other=0.0)
        by_column = tl.load(column_scale + c, mask=is_column, other=0.0)
        tile = tile.to(tl.float32) * by_row[:, None] * by_column[None]
        if HAS_BIAS:
            tile += tl.load(bias + c, mask=is_column, other=0.0).to(tl.float32)[None]
    is_written = place < rows_a_sample if IS_ALIGNED else is_row
    first = first_row if IS_ALIGNED else first_row // 16 * 16
    to = out + (sample * width + c)[:, None] * out_length + first + place[None]
    laid = tl.trans(tile).to(out.dtype.element_ty)
    tl.store(to, laid, mask=is_column[:, None] & is_written[None])
