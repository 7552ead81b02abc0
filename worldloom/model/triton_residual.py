"""Triton kernels for what stands between a block's products, with their gradients.

Each is the twin of a formula in `residual`; here is only how. A program takes some rows (tokens) of
one latent, which share the latent's modulation: it reads each row once, computes in float32, and
sums the modulation's gradient over its rows on the way. It does not know what a block is.

Letters: R rows, P rows of a latent, G latents of all samples (R = G P), E width, C chunks of P.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

_TILE = 8
_CHUNK = 64

Rows = Float[Tensor, "R E"]
OfLatents = Float[Tensor, "G E"]


@triton.jit
def norm_kernel(
    x, scale, shift, out, mean_out, rstd_out, num_rows, rows_a_latent, width,
    scale_stride, shift_stride, eps, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Norm rows and modulate them; mean and 1 / deviation of each row are kept."""
    rows = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    columns = tl.arange(0, BLOCK)
    there, inside_row = rows < num_rows, columns < width
    inside = there[:, None] & inside_row[None, :]
    at = rows[:, None] * width + columns[None, :]
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(y, axis=1) / width
    y = tl.where(inside, y - mean[:, None], 0.0)
    rstd = 1 / tl.sqrt(tl.sum(y * y, axis=1) / width + eps)
    latent = (rows // rows_a_latent)[:, None]
    a = tl.load(scale + latent * scale_stride + columns[None, :], mask=inside, other=0.0)
    b = tl.load(shift + latent * shift_stride + columns[None, :], mask=inside, other=0.0)
    y = y * rstd[:, None] * (1 + a.to(tl.float32)) + b.to(tl.float32)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)
    tl.store(mean_out + rows, mean, mask=there)
    tl.store(rstd_out + rows, rstd, mask=there)


@triton.jit
def norm_backward_kernel(
    x, scale, of_out, means, rstds, of_x, of_scale, of_shift,
    rows_a_latent, chunks, width, scale_stride,
    TILE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of `norm_kernel`; those of scale and shift are sums over the chunk's rows."""
    latent, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside_row = columns < width
    a = tl.load(scale + latent * scale_stride + columns, mask=inside_row, other=0.0).to(tl.float32)
    sum_scale, sum_shift = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, CHUNK, TILE):
        row = chunk * CHUNK + start + tl.arange(0, TILE)
        there = row < rows_a_latent
        inside = there[:, None] & inside_row[None, :]
        rows = latent * rows_a_latent + row
        at = rows[:, None] * width + columns[None, :]
        mean = tl.load(means + rows, mask=there, other=0.0)
        rstd = tl.load(rstds + rows, mask=there, other=0.0)
        y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        y = tl.where(inside, (y - mean[:, None]) * rstd[:, None], 0.0)
        g = tl.load(of_out + at, mask=inside, other=0.0).to(tl.float32)
        sum_scale += tl.sum(g * y, axis=0)
        sum_shift += tl.sum(g, axis=0)
        g *= 1 + a[None, :]
        along = tl.sum(g * y, axis=1) / width
        g = (g - (tl.sum(g, axis=1) / width)[:, None] - y * along[:, None]) * rstd[:, None]
        tl.store(of_x + at, g.to(of_x.dtype.element_ty), mask=inside)
    at = (latent * chunks + chunk) * width + columns
    tl.store(of_scale + at, sum_scale, mask=inside_row)
    tl.store(of_shift + at, sum_shift, mask=inside_row)


@triton.jit
def add_kernel(
    x, added, gate, camera_scale, camera_shift, out, num_rows, rows_a_latent, width, gate_stride,
    HAS_CAMERA: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add what a layer answered, gated; then let the camera scale and shift."""
    rows = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    columns = tl.arange(0, BLOCK)
    inside = (rows < num_rows)[:, None] & (columns < width)[None, :]
    at = rows[:, None] * width + columns[None, :]
    latent = (rows // rows_a_latent)[:, None]
    k = tl.load(gate + latent * gate_stride + columns[None, :], mask=inside, other=0.0)
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    y += tl.load(added + at, mask=inside, other=0.0).to(tl.float32) * k.to(tl.float32)
    if HAS_CAMERA:
        y *= 1 + tl.load(camera_scale + at, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(camera_shift + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def add_backward_kernel(
    x, added, gate, camera_scale, of_out, of_x, of_added, of_gate, of_camera_scale,
    rows_a_latent, chunks, width, gate_stride,
    HAS_CAMERA: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of `add_kernel`; the gate's is a sum over the chunk's rows."""
    latent, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside_row = columns < width
    k = tl.load(gate + latent * gate_stride + columns, mask=inside_row, other=0.0).to(tl.float32)
    sum_gate = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, CHUNK, TILE):
        row = chunk * CHUNK + start + tl.arange(0, TILE)
        inside = (row < rows_a_latent)[:, None] & inside_row[None, :]
        at = (latent * rows_a_latent + row)[:, None] * width + columns[None, :]
        g = tl.load(of_out + at, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(added + at, mask=inside, other=0.0).to(tl.float32)
        if HAS_CAMERA:
            before = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + y * k[None, :]
            of_scale = (g * before).to(of_camera_scale.dtype.element_ty)
            tl.store(of_camera_scale + at, of_scale, mask=inside)
            g *= 1 + tl.load(camera_scale + at, mask=inside, other=0.0).to(tl.float32)
            tl.store(of_x + at, g.to(of_x.dtype.element_ty), mask=inside)
        sum_gate += tl.sum(g * y, axis=0)
        tl.store(of_added + at, (g * k[None, :]).to(of_added.dtype.element_ty), mask=inside)
    at = (latent * chunks + chunk) * width + columns
    tl.store(of_gate + at, sum_gate, mask=inside_row)


class NormAndModulate(torch.autograd.Function):
    """`residual.modulated` of rows [R, E] by scale and shift [G, E]."""

    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401 - torch's
        x: Rows,
        scale: OfLatents,
        shift: OfLatents,
        eps: float,
    ) -> Rows:
        """Return the rows, normed and modulated."""
        num_rows, width = x.shape
        out = torch.empty_like(x)
        mean, rstd = (torch.empty(num_rows, dtype=torch.float32, device=x.device) for _ in "mr")
        norm_kernel[(triton.cdiv(num_rows, _TILE),)](
            x, scale, shift, out, mean, rstd, num_rows, num_rows // len(scale), width,
            scale.stride(0), shift.stride(0), eps,
            TILE=_TILE, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        context.save_for_backward(x, scale, mean, rstd)
        return out

    @staticmethod
    def backward(
        context: Any,  # noqa: ANN401
        of_out: Rows,
    ) -> tuple[Rows, OfLatents, OfLatents, None]:
        """Return the gradients by rows, scale and shift."""
        x, scale, mean, rstd = context.saved_tensors
        of_out, of_x = of_out.contiguous(), torch.empty_like(x)
        grid, sums = _chunks(x, len(scale)), _partial_sums(x, len(scale), 2)
        norm_backward_kernel[grid](
            x, scale, of_out, mean, rstd, of_x, *sums,
            len(x) // len(scale), grid[1], x.shape[1], scale.stride(0),
            TILE=_TILE, CHUNK=_CHUNK, BLOCK=triton.next_power_of_2(x.shape[1]),
        )  # fmt: skip
        of_scale, of_shift = (one.sum(dim=1).to(scale.dtype) for one in sums)
        return of_x, of_scale, of_shift, None


class AddGated(torch.autograd.Function):
    """`residual.added` of rows [R, E], with or without a camera's scale and shift [R, E]."""

    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401 - torch's
        x: Rows,
        answer: Rows,
        gate: OfLatents,
        camera_scale: Rows | None,
        camera_shift: Rows | None,
    ) -> Rows:
        """Return the rows with the answer added."""
        num_rows, width = x.shape
        out = torch.empty_like(x)
        add_kernel[(triton.cdiv(num_rows, _TILE),)](
            x, answer, gate, camera_scale, camera_shift, out,
            num_rows, num_rows // len(gate), width, gate.stride(0),
            HAS_CAMERA=camera_scale is not None,
            TILE=_TILE, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        context.save_for_backward(x, answer, gate, camera_scale)
        return out

    @staticmethod
    def backward(
        context: Any,  # noqa: ANN401
        of_out: Rows,
    ) -> tuple[Rows, Rows, OfLatents, Rows | None, Rows | None]:
        """Return the gradients by rows, answer, gate, and the camera's scale and shift."""
        x, answer, gate, camera_scale = context.saved_tensors
        of_out, of_answer = of_out.contiguous(), torch.empty_like(answer)
        of_x = of_out if camera_scale is None else torch.empty_like(x)
        of_camera_scale = None if camera_scale is None else torch.empty_like(camera_scale)
        grid, (of_gate,) = _chunks(x, len(gate)), _partial_sums(x, len(gate), 1)
        add_backward_kernel[grid](
            x, answer, gate, camera_scale, of_out, of_x, of_answer, of_gate, of_camera_scale,
            len(x) // len(gate), grid[1], x.shape[1], gate.stride(0),
            HAS_CAMERA=camera_scale is not None,
            TILE=_TILE, CHUNK=_CHUNK, BLOCK=triton.next_power_of_2(x.shape[1]),
        )  # fmt: skip
        of_camera_shift = None if camera_scale is None else of_out
        of_gates = of_gate.sum(dim=1).to(gate.dtype)
        return of_x, of_answer, of_gates, of_camera_scale, of_camera_shift


def _chunks(x: Tensor, num_latents: int) -> tuple[int, int]:
    """Return the programs of a gradient: latents, chunks of a latent's rows."""
    return num_latents, triton.cdiv(len(x) // num_latents, _CHUNK)


def _partial_sums(x: Tensor, num_latents: int, count: int) -> list[Tensor]:
    """Return `count` empty tensors [G, C, E]."""
    shape = (*_chunks(x, num_latents), x.shape[1])
    return [torch.empty(shape, dtype=torch.float32, device=x.device) for _ in range(count)]
