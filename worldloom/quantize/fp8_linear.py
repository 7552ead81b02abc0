"""A linear layer in FP8: weights and activations in e4m3, sums in float32.

A token's scale is absmax / 448; an output channel's weights have the one within the octave above
that at which they err least (`fit_rows`). GPUs from Hopper on multiply it in their matrix units;
anywhere else the same 8-bit values are multiplied in float32, which is exact and slow. It does not
know which layers of a model are worth it.

Letters: M tokens, K input features, N output features.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from worldloom.errors import MachineError
from worldloom.quantize.eight_bit_linear import EightBitLinear
from worldloom.quantize.rows import FP8, Rows

_COLUMN_MULTIPLE = 16
FIRST_CAPABILITY = (9, 0)


def multiplies_fp8(device: torch.device) -> bool:
    """Tell whether a device's matrix units take FP8 with a scale a row."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY


def require_fp8(device: torch.device) -> None:
    """Refuse a device that does not multiply FP8.

    Raises:
        MachineError: naming the device and what was expected.
    """
    if not multiplies_fp8(device):
        found = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
        message = (
            f"FP8 on {found}: its matrix units do not multiply it, expected a GPU of compute "
            "capability 9.0 or more (Hopper); INT8 runs on any"
        )
        raise MachineError(message)


class Fp8Linear(EightBitLinear):
    """`nn.Linear` with FP8 weights and dynamic FP8 activations; for inference only."""

    format_name = "FP8"
    weight_name = "weight_fp8"
    row_format = FP8

    @classmethod
    def unsupported_reason(cls, in_features: int, out_features: int) -> str | None:
        """Return why a layer of this shape cannot be FP8, or None if it can."""
        for what, value in (("in_features", in_features), ("out_features", out_features)):
            if value % _COLUMN_MULTIPLE:
                return f"{what}={value} is not a multiple of {_COLUMN_MULTIPLE}"
        return None

    def of_rows(self, rows: Rows, dtype: torch.dtype) -> Float[Tensor, "M N"]:
        """Return the layer's answer to rows that are FP8 already."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return fp8_matmul(rows, self.weight, self.weight_scale, bias, dtype)


def fp8_matmul(
    rows: Rows,
    weight_NK: Shaped[Tensor, "N K"],
    weight_scale_N: Float[Tensor, " N"],
    bias_N: Float[Tensor, " N"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "M N"]:
    """Return the scaled product of FP8 rows and FP8 weights, plus a bias."""
    assert rows.scale is not None, "FP8 rows come with their scales"
    if multiplies_fp8(rows.values.device) and dtype == torch.bfloat16:
        return torch._scaled_mm(  # noqa: SLF001 - torch's one door to FP8 products
            rows.values,
            weight_NK.t(),
            scale_a=rows.scale,
            scale_b=weight_scale_N[None],
            bias=bias_N,
            out_dtype=dtype,
            use_fast_accum=True,
        )
    products = rows.values.float() @ weight_NK.float().t()
    outputs = products.mul_(rows.scale).mul_(weight_scale_N)
    return (outputs if bias_N is None else outputs.add_(bias_N)).to(dtype)


def fp8_sums(
    rows: Rows, weight_NK: Shaped[Tensor, "N K"], dtype: torch.dtype
) -> Float[Tensor, "M N"]:
    """Return the product of FP8 rows and FP8 weights before their scales, on a GPU."""
    one = _one(rows.values.device)
    return torch._scaled_mm(  # noqa: SLF001 - torch's one door to FP8 products
        rows.values, weight_NK.t(), scale_a=one, scale_b=one, out_dtype=dtype, use_fast_accum=True
    )


@cache
def _one(device: torch.device) -> Tensor:
    return torch.ones((), device=device)
