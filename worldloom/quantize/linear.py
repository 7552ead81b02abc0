"""A linear layer in INT8: weights and activations in 8 bits, sums in 32.

Scales are absmax / 127, of an output channel's weights and of a token. The integer sums are exact;
on a GPU they are a kernel's (`triton_int8`), on a CPU torch's. It does not know which layers of a
model are worth it.

torchao's dynamic INT8 computes the same; it is not used because its tensor subclass does not go
into plain safetensors, and its cost per call exceeds these layers' own at up to some hundred
tokens.

Letters: M tokens, K input features, N output features.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor

from worldloom.quantize.eight_bit_linear import EightBitLinear
from worldloom.quantize.rows import INT8, Rows

_MAX_INT8 = 127
_COLUMN_MULTIPLE = 8
# More inputs than this could overflow a 32-bit sum of products of two 8-bit numbers.
MAX_IN_FEATURES = (2**31 - 1) // _MAX_INT8**2


def int8_matmul(left: Int8[Tensor, "M K"], right: Int8[Tensor, "N K"]) -> Int32[Tensor, "M N"]:
    """Return the exact int32 product [M, N] of int8 [M, K] and int8 [N, K]."""
    return torch._int_mm(left, right.t())  # noqa: SLF001


class Int8Linear(EightBitLinear):
    """`nn.Linear` with INT8 weights and dynamic INT8 activations; for inference only."""

    format_name = "INT8"
    weight_name = "weight_int8"
    row_format = INT8

    @classmethod
    def unsupported_reason(cls, in_features: int, out_features: int) -> str | None:
        """Return why a layer of this shape cannot be INT8 on every device, or None if it can."""
        for what, value in (("in_features", in_features), ("out_features", out_features)):
            if value % _COLUMN_MULTIPLE:
                return f"{what}={value} is not a multiple of {_COLUMN_MULTIPLE}"
        if in_features > MAX_IN_FEATURES:
            return f"in_features={in_features} may overflow 32-bit sums (at most {MAX_IN_FEATURES})"
        return None

    def of_rows(self, rows: Rows, dtype: torch.dtype) -> Float[Tensor, "M N"]:
        """Return the layer's answer to rows that are INT8 already."""
        assert rows.scale is not None, "INT8 rows come with their scales"
        if rows.values.is_cuda:
            from worldloom.quantize.triton_int8 import int8_linear

            return int8_linear(
                rows.values, rows.scale, self.weight, self.weight_scale, self.bias, dtype
            )
        sums_MN = int8_matmul(rows.values, self.weight).float()
        outputs = sums_MN.mul_(rows.scale).mul_(self.weight_scale)
        return (outputs if self.bias is None else outputs.add_(self.bias)).to(dtype)
