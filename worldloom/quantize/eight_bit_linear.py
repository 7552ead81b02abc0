"""What linear layers in 8 bits share: weights with a scale per output channel, rows as inputs.

    y[m, n] = sum_k(xq[m, k] wq[n, k]) * sx[m] * sw[n] + b[n]

`wq` is fixed when converted; `xq` has one scale per token, computed at each call or by whoever made
the tokens (`Rows`). 8-bit weights and their scales are never converted when a network changes its
type. How the product is done is a subclass's matter. It does not know which layers of a model are
worth it.

Letters: M tokens, K input features, N output features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldloom.quantize.rows import Rows, fit_rows, quantize_rows


class EightBitLinear(nn.Module):
    """`nn.Linear` with 8-bit weights and dynamic 8-bit activations; for inference only."""

    format_name: ClassVar[str]  # for people
    weight_name: ClassVar[str]  # in a state dict
    row_format: ClassVar[torch.dtype]

    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, *, has_bias: bool = True) -> None:
        """Make an empty layer, to be filled from a linear one or a state dict."""
        super().__init__()
        reason = self.unsupported_reason(in_features, out_features)
        if reason is not None:
            message = f"{self.format_name} linear {in_features} -> {out_features}: {reason}"
            raise ValueError(message)
        self.in_features = in_features
        self.out_features = out_features
        weight = torch.zeros(out_features, in_features).to(self.row_format)
        self.register_buffer(self.weight_name, weight)
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if has_bias else None)

    @classmethod
    def unsupported_reason(cls, in_features: int, out_features: int) -> str | None:
        """Return why a layer of this shape cannot be in this format, or None if it can."""
        raise NotImplementedError

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> EightBitLinear:
        """Convert a linear layer where it lies; its weights are rounded, its bias is not."""
        with linear.weight.device:
            layer = cls(linear.in_features, linear.out_features, has_bias=linear.bias is not None)
        weight, scale = fit_rows(linear.weight.detach().float(), cls.row_format)
        setattr(layer, cls.weight_name, weight)
        layer.weight_scale = scale[:, 0].contiguous()
        if linear.bias is not None:
            layer.bias = linear.bias.detach().clone()
        return layer

    @property
    def weight(self) -> Shaped[Tensor, "N K"]:
        """The 8-bit weights."""
        return self.get_buffer(self.weight_name)

    def of_rows(self, rows: Rows, dtype: torch.dtype) -> Float[Tensor, "M N"]:
        """Return the layer's answer to rows that are in its format already."""
        raise NotImplementedError

    def forward(self, inputs: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch N"]:
        """Return [..., N] in the inputs' dtype."""
        rows = inputs.reshape(-1, self.in_features)
        answer = self.of_rows(Rows(*quantize_rows(rows, self.row_format)), inputs.dtype)
        return answer.view(*inputs.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return the shape for printing."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EightBitLinear:
        exact = self.weight, self.weight_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.weight.device
        weight, scale = (
            torch.empty_like(x, device=device) if x.is_meta else x.to(device) for x in exact
        )
        setattr(self, self.weight_name, weight)
        self.weight_scale = scale
        return self
