"""Triton kernels that go over rows of tokens once: what stands between two matrix products.

Each is the twin of a function in `rows`, which says what it computes; here is only how. One
program takes one row (a token's channels), keeps it in registers in float32, and writes what the
next product reads. It does not know blocks or layers.

Letters: R rows, E width.
"""

from __future__ import annotations

import triton
import triton.language as tl

FULL, INT8, FP8 = 0, 1, 2
NOTHING, GELU, SILU = 0, 1, 2


@triton.jit
def write_row(y, columns, inside, row, width, out, out_scale, FORMAT: tl.constexpr):
    """Write a row as it is, or in 8 bits with its scale."""
    at = out + row * width + columns
    if FORMAT == 0:
        tl.store(at, y.to(out.dtype.element_ty), mask=inside)
    else:
        largest = 127.0 if FORMAT == 1 else 448.0
        most = tl.max(tl.where(inside, tl.abs(y), 0.0), axis=0)
        scale = tl.maximum(most / largest, 1e-30)
        y = y / scale
        if FORMAT == 1:
            y = tl.floor(y + 0.5)
        tl.store(at, y.to(out.dtype.element_ty), mask=inside)
        tl.store(out_scale + row, scale)


@triton.jit
def load_product(
    sums, row_scale, column_scale, bias, row, columns, inside, stride,
    IS_SCALED: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Read a row of a product, and finish it where that is still to be done."""
    y = tl.load(sums + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    if IS_SCALED:
        by_column = tl.load(column_scale + columns, mask=inside, other=0.0)
        y *= by_column * tl.load(row_scale + row)
        if HAS_BIAS:
            y += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return y


@triton.jit
def update_kernel(
    x, added, row_scale, column_scale, added_bias, gate, camera_scale, camera_shift,
    weight, bias, scale, shift, x_out, out, out_scale,
    width, rows_a_group, gate_stride, modulation_stride, eps,
    HAS_ADDED: tl.constexpr, IS_SCALED: tl.constexpr, ADDS_BIAS: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_CAMERA: tl.constexpr,
    IS_NORMED: tl.constexpr, HAS_AFFINE: tl.constexpr, HAS_MODULATION: tl.constexpr,
    KEEPS: tl.constexpr, FORMAT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add, let the camera speak, norm, modulate and write; KEEPS: 0 nothing, 1 sum, 2 norm."""
    row = tl.program_id(0).to(tl.int64)
    group = row // rows_a_group
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    y = tl.load(x + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    if HAS_ADDED:
        more = load_product(
            added, row_scale, column_scale, added_bias, row, columns, inside, width,
            IS_SCALED, ADDS_BIAS,
        )  # fmt: skip
        if HAS_GATE:
            at = gate + group * gate_stride + columns
            more *= tl.load(at, mask=inside, other=0.0).to(tl.float32)
        y += more
    if HAS_CAMERA:
        at = row * width + columns
        y *= 1 + tl.load(camera_scale + at, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(camera_shift + at, mask=inside, other=0.0).to(tl.float32)
    if KEEPS == 1:
        tl.store(x_out + row * width + columns, y.to(x_out.dtype.element_ty), mask=inside)
    if IS_NORMED:
        mean = tl.sum(tl.where(inside, y, 0.0), axis=0) / width
        y = tl.where(inside, y - mean, 0.0)
        y *= 1 / tl.sqrt(tl.sum(y * y, axis=0) / width + eps)
        if HAS_AFFINE:
            y *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
            y += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    if KEEPS == 2:
        tl.store(x_out + row * width + columns, y.to(x_out.dtype.element_ty), mask=inside)
    if HAS_MODULATION:
        at = group * modulation_stride + columns
        y *= 1 + tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    write_row(y, columns, inside, row, width, out, out_scale, FORMAT)


@triton.jit
def activate_kernel(
    sums, row_scale, column_scale, bias, offset, out, out_scale, width, rows_a_group,
    IS_SCALED: tl.constexpr, HAS_BIAS: tl.constexpr,
    HAS_OFFSET: tl.constexpr, ACTIVATION: tl.constexpr, FORMAT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add a group's offset, apply the activation, write."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    y = load_product(
        sums, row_scale, column_scale, bias, row, columns, inside, width, IS_SCALED, HAS_BIAS
    )
    if HAS_OFFSET:
        at = offset + (row // rows_a_group) * width + columns
        y += tl.load(at, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION == 1:  # GELU by tanh: tanh(u) = 2 sigmoid(2 u) - 1
        y *= tl.sigmoid(1.5957691216057308 * (y + 0.044715 * y * y * y))
    if ACTIVATION == 2:
        y *= tl.sigmoid(y)
    write_row(y, columns, inside, row, width, out, out_scale, FORMAT)


@triton.jit
def turn_kernel(
    sums, row_scale, column_scale, bias, weight, cosine, sine, plain_out, out,
    width, sums_stride, rows_a_sample, sample_stride, first_row, eps,
    IS_SCALED: tl.constexpr, HAS_BIAS: tl.constexpr,
    IS_NORMED: tl.constexpr, IS_TURNED: tl.constexpr, KEEPS_PLAIN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """RMS norm over all heads, then turn the pairs; rows go to their place in a larger buffer."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    y = load_product(
        sums,
        row_scale,
        column_scale,
        bias,
        row,
        columns,
        inside,
        sums_stride,
        IS_SCALED,
        HAS_BIAS,
    )
    if IS_NORMED:
        y *= 1 / tl.sqrt(tl.sum(y * y, axis=0) / width + eps)
        y *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    if KEEPS_PLAIN:
        tl.store(plain_out + row * width + columns, y.to(plain_out.dtype.element_ty), mask=inside)
    if IS_TURNED:
        pairs = tl.arange(0, BLOCK // 2)
        at = row * (width // 2) + pairs
        turns_c = tl.load(cosine + at, mask=pairs < width // 2, other=1.0).to(tl.float32)
        turns_s = tl.load(sine + at, mask=pairs < width // 2, other=0.0).to(tl.float32)
        first, second = tl.split(tl.reshape(y, (BLOCK // 2, 2)))
        turned_first = first * turns_c - second * turns_s
        turned_second = first * turns_s + second * turns_c
        y = tl.reshape(tl.join(turned_first, turned_second), (BLOCK,))
    to = (row // rows_a_sample) * sample_stride + (first_row + row % rows_a_sample) * width
    tl.store(out + to + columns, y.to(out.dtype.element_ty), mask=inside)
