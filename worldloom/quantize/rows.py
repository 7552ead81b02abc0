"""Rows of activations as 8-bit layers read them: 8-bit values, and one scale a row.

    values[m, k] = round(x[m, k] / scale[m]),  scale[m] = absmax_k x[m, k] / largest

`largest` is the format's largest number: 127 in INT8, 448 in FP8 (e4m3). It does not know layers.

Letters: M rows, K features, ... leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

FP8 = torch.float8_e4m3fn
INT8 = torch.int8
LARGEST = {INT8: 127.0, FP8: 448.0}
TINY = 1e-30


@dataclass(frozen=True)
class Rows:
    """What enters a linear layer: full precision, or 8-bit values with a scale a row."""

    values: Shaped[Tensor, "M K"]
    scale: Float[Tensor, "M 1"] | None = None


def quantize_rows(
    values: Float[Tensor, "M K"], dtype: torch.dtype = INT8
) -> tuple[Shaped[Tensor, "M K"], Float[Tensor, "M 1"]]:
    """Return 8-bit values and float32 scales, symmetric per row."""
    largest = LARGEST[dtype]
    scale = values.abs().amax(dim=-1, keepdim=True).float().div_(largest).clamp_(min=TINY)
    scaled = values / scale
    if dtype == INT8:
        scaled = scaled.round()
    return scaled.clamp_(-largest, largest).to(dtype), scale
