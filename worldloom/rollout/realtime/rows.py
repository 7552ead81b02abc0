"""What stands between two matrix products, each in one pass over the rows of tokens.

Every function is the formula in torch; on a GPU its twin in `triton_rows` computes it, in float32
within a row, and hands 8-bit rows to a layer that multiplies in 8 bits. It does not know the order
in which a block does these things.

Letters: R rows (tokens of all samples), E width, G groups of equally many rows (latents), H width
of a hidden layer, B samples, S rows of a buffer, N heads, D channels of a head, P pairs of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.rope import Rotation, rotate
from worldloom.quantize.rows import FP8, INT8, Rows, quantize_rows
from worldloom.rollout.realtime import triton_rows as kernels
from worldloom.rollout.realtime.product import Product, RowFormat

Tokens = Float[Tensor, "R E"]
OfGroups = Float[Tensor, "G E"]
_FORMATS = {None: kernels.FULL, INT8: kernels.INT8, FP8: kernels.FP8}
_ACTIVATIONS = {"none": kernels.NOTHING, "gelu": kernels.GELU, "silu": kernels.SILU}


@dataclass(frozen=True)
class Residual:
    """The residual stream, and what has been worked out for it but not yet added."""

    tokens: Tensor  # [R, E]
    added: Product | None = None  # [R, E]
    gate: Tensor | None = None  # [G, E], of `added`


@dataclass(frozen=True)
class Update:
    """What happens to the residual stream on its way into a product, in this order."""

    camera: tuple[Tensor, Tensor] | None = None  # scale and shift [R, E]
    norm: nn.LayerNorm | None = None
    modulation: tuple[Tensor, Tensor] | None = None  # scale and shift [G, E]
    replaces: bool = False  # the norm becomes the stream


def update(residual: Residual, change: Update, row_format: RowFormat) -> tuple[Tokens, Rows]:
    """Return the residual stream and the rows that the next product reads."""
    if residual.tokens.is_cuda:
        return _update_on_gpu(residual, change, row_format)
    x, gate = residual.tokens, residual.gate
    if residual.added is not None:
        added = residual.added.finished()
        x = x + (added if gate is None else added * _spread(gate, x))
    if change.camera is not None:
        x = x * (1 + change.camera[0]) + change.camera[1]
    normed = x if change.norm is None else change.norm(x)
    if change.replaces:
        x = normed
    if change.modulation is not None:
        scale, shift = change.modulation
        normed = normed * (1 + _spread(scale, x)) + _spread(shift, x)
    return x, _in_format(normed, row_format)


def activate(
    product: Product,
    activation: str,
    row_format: RowFormat,
    offset: Float[Tensor, "G H"] | None = None,
) -> Rows:
    """Return rows after an activation (none, gelu, silu); `offset` is added first, by group."""
    if activation == "none" and row_format is None and offset is None:
        return Rows(product.finished())
    if product.sums.is_cuda:
        return _activate_on_gpu(product, activation, row_format, offset)
    hidden = product.finished()
    if offset is not None:
        hidden = hidden + _spread(offset, hidden)
    if activation == "gelu":
        hidden = F.gelu(hidden, approximate="tanh")
    elif activation == "silu":
        hidden = F.silu(hidden)
    return _in_format(hidden, row_format)


def turn_into(
    buffer: Float[Tensor, "B S N D"],
    first_row: int,
    product: Product,
    norm: nn.RMSNorm | None,
    rotation: Rotation | None,
    plain: Float[Tensor, "R E"] | None = None,
) -> None:
    """Write heads into a buffer's rows from `first_row` on: RMS-normed, then turned.

    Args:
        buffer: of keys, values or queries, rows of every sample.
        first_row: where a sample's rows begin.
        product: rows of all samples, in order.
        norm: over the whole width; None leaves rows as they are.
        rotation: [B, L, N, P] of the rows; None turns nothing.
        plain: takes the rows before they are turned.
    """
    if product.sums.is_cuda:
        _turn_on_gpu(buffer, first_row, product, norm, rotation, plain)
        return
    x = product.finished()
    normed = x if norm is None else norm(x)
    if plain is not None:
        plain.copy_(normed)
    heads = normed.unflatten(0, (len(buffer), -1)).unflatten(-1, buffer.shape[2:])
    turned = heads if rotation is None else rotate(heads, rotation)
    buffer[:, first_row : first_row + heads.shape[1]] = turned.to(buffer.dtype)


def _spread(of_groups: Tensor, rows: Tensor) -> Tensor:
    return of_groups.repeat_interleave(len(rows) // len(of_groups), dim=0)


def _in_format(x: Tensor, row_format: RowFormat) -> Rows:
    return Rows(x) if row_format is None else Rows(*quantize_rows(x, row_format))


def _empty_rows(like: Tensor, row_format: RowFormat) -> tuple[Tensor, Tensor | None]:
    if row_format is None:
        return torch.empty_like(like), None
    scale = torch.empty(len(like), 1, dtype=torch.float32, device=like.device)
    return torch.empty_like(like, dtype=row_format), scale


def _pointers(
    product: Product | None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return what a kernel reads of a product; a bias alone is in the sums already."""
    if product is None:
        return None, None, None, None
    return product.sums, product.row_scale, product.column_scale, product.bias


def _warps(width: int) -> int:
    return 4 if width <= 1024 else 8 if width <= 4096 else 16


def _update_on_gpu(
    residual: Residual, change: Update, row_format: RowFormat
) -> tuple[Tensor, Rows]:
    x, added, gate = residual.tokens, residual.added, residual.gate
    num_rows, width = x.shape
    changes = added is not None or change.camera is not None or change.replaces
    kept = torch.empty_like(x) if changes else x
    keeps = (2 if change.replaces else 1) if changes else 0
    camera_scale, camera_shift = change.camera or (None, None)
    scale, shift = change.modulation or (None, None)
    norm = change.norm
    grouped = gate if gate is not None else scale
    if row_format is None and norm is None and scale is None:
        keeps, out, out_scale = 0, kept, None  # the rows are the stream itself
        if not changes:
            return x, Rows(x)
    else:
        out, out_scale = _empty_rows(x, row_format)
    sums, row_scale, column_scale, bias = _pointers(added)
    kernels.update_kernel[(num_rows,)](
        x, sums, row_scale, column_scale, bias, gate, camera_scale, camera_shift,
        None if norm is None else norm.weight, None if norm is None else norm.bias,
        scale, shift, kept, out, out_scale,
        width, num_rows if grouped is None else num_rows // len(grouped),
        0 if gate is None else gate.stride(0), 0 if scale is None else scale.stride(0),
        0.0 if norm is None else norm.eps,
        HAS_ADDED=added is not None, IS_SCALED=row_scale is not None, ADDS_BIAS=bias is not None,
        HAS_GATE=gate is not None,
        HAS_CAMERA=camera_scale is not None, IS_NORMED=norm is not None,
        HAS_AFFINE=norm is not None and norm.elementwise_affine,
        HAS_MODULATION=scale is not None, KEEPS=keeps, FORMAT=_FORMATS[row_format],
        BLOCK=triton.next_power_of_2(width), num_warps=_warps(width),
    )  # fmt: skip
    return kept, Rows(out, out_scale)


def _activate_on_gpu(
    product: Product, activation: str, row_format: RowFormat, offset: Tensor | None
) -> Rows:
    num_rows, width = product.sums.shape
    out, out_scale = _empty_rows(product.sums, row_format)
    pointers = _pointers(product)
    kernels.activate_kernel[(num_rows,)](
        *pointers, offset, out, out_scale, width,
        num_rows if offset is None else num_rows // len(offset),
        IS_SCALED=product.row_scale is not None, HAS_BIAS=pointers[-1] is not None,
        HAS_OFFSET=offset is not None, ACTIVATION=_ACTIVATIONS[activation],
        FORMAT=_FORMATS[row_format],
        BLOCK=triton.next_power_of_2(width), num_warps=_warps(width),
    )  # fmt: skip
    return Rows(out, out_scale)


def _turn_on_gpu(
    buffer: Tensor,
    first_row: int,
    product: Product,
    norm: nn.RMSNorm | None,
    rotation: Rotation | None,
    plain: Tensor | None,
) -> None:
    num_rows, width = product.sums.shape
    cosine, sine = rotation or (None, None)
    pointers = _pointers(product)
    kernels.turn_kernel[(num_rows,)](
        *pointers, None if norm is None else norm.weight, cosine, sine, plain, buffer,
        width, product.sums.stride(0), num_rows // len(buffer), buffer.stride(0), first_row,
        0.0 if norm is None else norm.eps,
        IS_SCALED=product.row_scale is not None, HAS_BIAS=pointers[-1] is not None,
        IS_NORMED=norm is not None, IS_TURNED=rotation is not None, KEEPS_PLAIN=plain is not None,
        BLOCK=triton.next_power_of_2(width), num_warps=_warps(width),
    )  # fmt: skip
