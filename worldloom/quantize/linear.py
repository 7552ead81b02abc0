"""A linear layer in INT8: weights and activations in 8 bits, sums in 32.

    y[m, n] = sum_k(xq[m, k] wq[n, k]) * sx[m] * sw[n] + b[n]

`wq` is symmetric per output channel, scale absmax / 127, fixed when converted; `xq` is symmetric
per token, scale absmax / 127, computed at each call. The integer sums are exact. It does not know
which layers of a model are worth it.

torchao's dynamic INT8 computes the same; it is not used because its tensor subclass does not go
into plain safetensors, and its cost per call exceeds these layers' own at up to some hundred
tokens.

Letters: M tokens, K input features, N output features.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor, nn

from worldloom.quantize.rows import Rows, quantize_rows

_MAX_INT8 = 127
# CUDA's integer product takes more than 16 rows, and columns in eights; the CPU's takes any.
_MIN_CUDA_ROWS = 17
_PADDED_ROWS = 32
_COLUMN_MULTIPLE = 8
# More inputs than this could overflow a 32-bit sum of products of two 8-bit numbers.
MAX_IN_FEATURES = (2**31 - 1) // _MAX_INT8**2


def unsupported_reason(in_features: int, out_features: int) -> str | None:
    """Return why a layer of this shape cannot be INT8 on every device, or None if it can."""
    for what, value in (("in_features", in_features), ("out_features", out_features)):
        if value % _COLUMN_MULTIPLE:
            return f"{what}={value} is not a multiple of {_COLUMN_MULTIPLE}"
    if in_features > MAX_IN_FEATURES:
        return f"in_features={in_features} may overflow 32-bit sums (at most {MAX_IN_FEATURES})"
    return None


def int8_matmul(left: Int8[Tensor, "M K"], right: Int8[Tensor, "N K"]) -> Int32[Tensor, "M N"]:
    """Return the exact int32 product [M, N] of int8 [M, K] and int8 [N, K]."""
    rows = len(left)
    if left.is_cuda and rows < _MIN_CUDA_ROWS:
        left = nn.functional.pad(left, (0, 0, 0, _PADDED_ROWS - rows))
    return torch._int_mm(left, right.t())[:rows]  # noqa: SLF001


class Int8Linear(nn.Module):
    """`nn.Linear` with INT8 weights and dynamic INT8 activations; for inference only."""

    weight_int8: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, *, has_bias: bool = True) -> None:
        """Make an empty layer, to be filled from a linear one or a state dict."""
        super().__init__()
        reason = unsupported_reason(in_features, out_features)
        if reason is not None:
            message = f"INT8 linear {in_features} -> {out_features}: {reason}"
            raise ValueError(message)
        self.in_features = in_features
        self.out_features = out_features
        self.register_buffer("weight_int8", torch.zeros(out_features, in_features).to(torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if has_bias else None)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> Int8Linear:
        """Convert a linear layer; its weights are rounded, its bias stays in fp32."""
        layer = cls(linear.in_features, linear.out_features, has_bias=linear.bias is not None)
        weight, scale = quantize_rows(linear.weight.detach().float())
        layer.weight_int8, layer.weight_scale = weight, scale[:, 0]
        if linear.bias is not None:
            layer.bias = linear.bias.detach().float().clone()
        return layer

    def of_rows(self, rows: Rows, dtype: torch.dtype) -> Float[Tensor, "M N"]:
        """Return the layer's answer to rows that are INT8 already."""
        assert rows.scale is not None, "INT8 rows come with their scales"
        if rows.values.is_cuda:
            from worldloom.quantize.triton_int8 import int8_linear

            return int8_linear(
                rows.values, rows.scale, self.weight_int8, self.weight_scale, self.bias, dtype
            )
        sums_MN = int8_matmul(rows.values, self.weight_int8).float()
        outputs = sums_MN.mul_(rows.scale).mul_(self.weight_scale)
        return (outputs if self.bias is None else outputs.add_(self.bias)).to(dtype)

    def forward(self, inputs: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch N"]:
        """Return [..., N] in the inputs' dtype."""
        rows = Rows(*quantize_rows(inputs.reshape(-1, self.in_features)))
        return self.of_rows(rows, inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return the shape for printing."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
