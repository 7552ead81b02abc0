"""Triton kernel that turns channel pairs by their angles, and its gradient, the turn back.

Written out in torch a turn reads and writes its tokens half a dozen times, in float32; where a
network is small that is most of what a training step does. Here each token is read and written
once. It computes what `rope.rotate` says, and does not know what an angle means.

Letters: B batch, L tokens, N heads, D channels of a head, P rotary pairs (D / 2).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

_ROWS = 8


@triton.jit
def turn_pairs_kernel(
    x, cosine, sine, out, num_rows, rows_a_sample, head_dim, width,
    x_sample, x_row, x_head, turn_sample, turn_row, turn_head,
    IS_INVERSE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn some rows (tokens, all their heads); out is contiguous, the rest lies by its strides."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    sample, row = rows // rows_a_sample, rows % rows_a_sample
    columns = tl.arange(0, BLOCK)
    pairs = tl.arange(0, BLOCK // 2)
    there = rows[:, None] < num_rows
    inside = there & (columns[None, :] < width)
    inside_pairs = there & (pairs[None, :] < width // 2)
    of_row = (sample * x_sample + row * x_row)[:, None]
    at = of_row + ((columns // head_dim) * x_head + columns % head_dim)[None, :]
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    half = head_dim // 2
    of_row = (sample * turn_sample + row * turn_row)[:, None]
    at = of_row + ((pairs // half) * turn_head + pairs % half)[None, :]
    c = tl.load(cosine + at, mask=inside_pairs, other=1.0).to(tl.float32)
    s = tl.load(sine + at, mask=inside_pairs, other=0.0).to(tl.float32)
    if IS_INVERSE:
        s = -s
    first, second = tl.split(tl.reshape(y, (ROWS, BLOCK // 2, 2)))
    turned = tl.join(first * c - second * s, first * s + second * c)
    at = rows[:, None] * width + columns[None, :]
    turned = tl.reshape(turned, (ROWS, BLOCK))
    tl.store(out + at, turned.to(out.dtype.element_ty), mask=inside)


def turn_pairs(
    x_BLND: Float[Tensor, "B L N D"],
    cosine: Float[Tensor, "#B L #N P"],
    sine: Float[Tensor, "#B L #N P"],
    *,
    inverse: bool = False,
) -> Float[Tensor, "B L N D"]:
    """Return the turned tokens in their own precision; angles have no gradient."""
    turned: Tensor = _Turn.apply(x_BLND, cosine, sine, inverse)
    return turned


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401 - torch's
        x_BLND: Tensor,
        cosine: Tensor,
        sine: Tensor,
        inverse: bool,
    ) -> Tensor:
        context.save_for_backward(cosine, sine)
        context.inverse = inverse
        return _launch(x_BLND, cosine, sine, is_inverse=inverse)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        cosine, sine = context.saved_tensors
        turned_back = _launch(gradient, cosine, sine, is_inverse=not context.inverse)
        return turned_back, None, None, None


def _launch(x_BLND: Tensor, cosine: Tensor, sine: Tensor, *, is_inverse: bool) -> Tensor:
    if x_BLND.stride(-1) != 1:
        x_BLND = x_BLND.contiguous()
    out = torch.empty(x_BLND.shape, dtype=x_BLND.dtype, device=x_BLND.device)
    samples, rows_a_sample, num_heads, head_dim = x_BLND.shape
    num_rows, width = samples * rows_a_sample, num_heads * head_dim
    turns = [values.expand(samples, rows_a_sample, num_heads, -1) for values in (cosine, sine)]
    if turns[0].stride() != turns[1].stride() or turns[0].stride(-1) != 1:
        turns = [values.contiguous() for values in turns]
    turn_pairs_kernel[(triton.cdiv(num_rows, _ROWS),)](
        x_BLND, *turns, out, num_rows, rows_a_sample, head_dim, width,
        *x_BLND.stride()[:3], *turns[0].stride()[:3],
        IS_INVERSE=is_inverse, ROWS=_ROWS, BLOCK=triton.next_power_of_2(width),
    )  # fmt: skip
    return out
