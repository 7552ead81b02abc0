"""A Triton kernel for attention over a segment's few latents, one place and one head a program.

The twin of `time_attention.attend_in_time`, which says what it computes; here is only how. Up to
fifteen latents are multiplied out, more go through the matrix units. It does not know what mouse
and keyboard are.

Letters: T latents, D channels of a head.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _normed(first, second, weight, pair, eps, D: tl.constexpr):
    size = 1 / tl.sqrt(tl.sum(first * first + second * second, axis=1) / D + eps)
    first *= size[:, None] * tl.load(weight + 2 * pair).to(tl.float32)[None]
    second *= size[:, None] * tl.load(weight + 2 * pair + 1).to(tl.float32)[None]
    return first, second


@triton.jit
def time_kernel(
    query, keys, values, query_weight, key_weight, cosine, sine, out,
    query_stride, key_stride, out_stride, times, places, eps, scale,
    IS_SHARED: tl.constexpr, D: tl.constexpr, TIMES: tl.constexpr, USES_DOT: tl.constexpr,
):  # fmt: skip
    """Norm and turn queries (and keys, unless all places share them), attend, write."""
    sample, place = tl.program_id(0) // places, tl.program_id(0) % places
    head = tl.program_id(1) * D
    t, pair, channel = tl.arange(0, TIMES), tl.arange(0, D // 2), tl.arange(0, D)
    there = (t < times)[:, None]
    row = ((sample * times + t) * places + place).to(tl.int64)
    key_row = row
    if IS_SHARED:
        key_row = (sample * times + t).to(tl.int64)
    turn_c = tl.load(cosine + t[:, None] * (D // 2) + pair[None], mask=there, other=1.0)
    turn_s = tl.load(sine + t[:, None] * (D // 2) + pair[None], mask=there, other=0.0)
    at = query + row[:, None] * query_stride + head + 2 * pair[None]
    q1 = tl.load(at, mask=there, other=0.0).to(tl.float32)
    q2 = tl.load(at + 1, mask=there, other=0.0).to(tl.float32)
    q1, q2 = _normed(q1, q2, query_weight, pair, eps, D)
    q_first, q_second = q1 * turn_c - q2 * turn_s, q1 * turn_s + q2 * turn_c
    at = keys + key_row[:, None] * key_stride + head + 2 * pair[None]
    k1 = tl.load(at, mask=there, other=0.0).to(tl.float32)
    k2 = tl.load(at + 1, mask=there, other=0.0).to(tl.float32)
    if not IS_SHARED:
        k1, k2 = _normed(k1, k2, key_weight, pair, eps, D)
        k_first = k1 * turn_c - k2 * turn_s
        k2 = k1 * turn_s + k2 * turn_c
        k1 = k_first
    at = values + key_row[:, None] * key_stride + head + channel[None]
    v = tl.load(at, mask=there, other=0.0).to(tl.float32)
    if USES_DOT:
        scores = tl.dot(q_first, tl.trans(k1)) + tl.dot(q_second, tl.trans(k2))
    else:
        scores = tl.sum(q_first[:, None] * k1[None] + q_second[:, None] * k2[None], axis=2)
    scores = tl.where((t < times)[None], scores * scale, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    weights /= tl.sum(weights, axis=1)[:, None]
    if USES_DOT:
        mixed = tl.dot(weights, v)
    else:
        mixed = tl.sum(weights[:, :, None] * v[None], axis=1)
    at = out + row[:, None] * out_stride + head + channel[None]
    tl.store(at, mixed.to(out.dtype.element_ty), mask=there)
