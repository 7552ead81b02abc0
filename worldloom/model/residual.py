"""What a block does to its residual stream between two products.

    modulated   norm, then the scale and shift of each latent's timestep
    added       what a layer answered, by each latent's gate; then scale and shift of the camera

On a GPU one kernel does each, and one its gradient (`triton_residual`): written out in torch they
go over the tokens a dozen times, which is most of a small network's step. It does not know layers.

Letters: B batch, L tokens, E width, T latents (L = T P).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "B L E"]
OfLatents = Float[Tensor, "B T E"]


def modulated(
    norm: nn.LayerNorm, x_BLE: Tokens, scale_BTE: OfLatents, shift_BTE: OfLatents
) -> Tokens:
    """Norm tokens, then scale and shift those of each latent by what its timestep says.

    `norm` has no weights of its own.
    """
    if _has_kernels(x_BLE, scale_BTE, shift_BTE):
        from worldloom.model.triton_residual import NormAndModulate  # Triton is not everywhere

        rows = x_BLE.flatten(0, 1).contiguous()
        scale, shift = scale_BTE.flatten(0, 1), shift_BTE.flatten(0, 1)
        out: Tensor = NormAndModulate.apply(rows, scale, shift, norm.eps)
        return out.view_as(x_BLE)
    x_BTPE: Tensor = norm(x_BLE).unflatten(1, (scale_BTE.shape[1], -1))
    return (x_BTPE * (1 + scale_BTE[:, :, None]) + shift_BTE[:, :, None]).flatten(1, 2)


def added(
    x_BLE: Tokens,
    answer_BLE: Tokens,
    gate_BTE: OfLatents,
    camera: tuple[Tokens, Tokens] | None = None,
) -> Tokens:
    """Add a layer's answer to the tokens of each latent by its gate.

    camera is the scale and shift that follow.
    """
    if _has_kernels(x_BLE, answer_BLE, gate_BTE, *(camera or ())):
        from worldloom.model.triton_residual import AddGated  # Triton is not everywhere

        rows = [one.flatten(0, 1).contiguous() for one in (x_BLE, answer_BLE, *(camera or ()))]
        x, answer, *of_camera = rows
        scale, shift = of_camera or (None, None)
        out: Tensor = AddGated.apply(x, answer, gate_BTE.flatten(0, 1), scale, shift)
        return out.view_as(x_BLE)
    answer_BTPE: Tensor = answer_BLE.unflatten(1, (gate_BTE.shape[1], -1))
    x_BLE = x_BLE + (answer_BTPE * gate_BTE[:, :, None]).flatten(1, 2)
    return x_BLE if camera is None else x_BLE * (1 + camera[0]) + camera[1]


def _has_kernels(*values: Tensor) -> bool:
    """Tell whether kernels serve: one precision on a GPU, and no compiler to fuse the formula."""
    first = values[0]
    return (
        first.is_cuda
        and first.dtype != torch.float64
        and all(one.dtype == first.dtype for one in values)
        and not torch.compiler.is_compiling()
    )
