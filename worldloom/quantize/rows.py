"""Rows of activations as 8-bit layers read them: 8-bit values, and one scale a row.

    values[m, k] = round(x[m, k] / scale[m]),  scale[m] = absmax_k x[m, k] / largest

`largest` is the format's largest number: 127 in INT8, 448 in FP8 (e4m3). Weights, which are rounded
once, may take a scale that fits them better. It does not know layers.

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
_FITS_PER_OCTAVE = 8


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


def fit_rows(
    values: Float[Tensor, "M K"], dtype: torch.dtype
) -> tuple[Shaped[Tensor, "M K"], Float[Tensor, "M 1"]]:
    """Return 8-bit values and scales as `quantize_rows`, FP8 at the scale that errs least.

    The steps of FP8 double from one power of two to the next, so where a row's values fall between
    them hangs on its scale; beyond one octave the choice repeats. INT8's steps are all alike.
    """
    chosen, scale = quantize_rows(values, dtype)
    if dtype != FP8:
        return chosen, scale
    least, error = scale, _squared_error(values, chosen, scale)
    for step in range(1, _FITS_PER_OCTAVE):
        wider = least * 2 ** (step / _FITS_PER_OCTAVE)
        other = (values / wider).to(dtype)
        other_error = _squared_error(values, other, wider)
        is_better = other_error < error
        chosen = torch.where(is_better, other.float(), chosen.float()).to(dtype)
        scale, error = torch.where(is_better, wider, scale), torch.minimum(error, other_error)
    return chosen, scale


def _squared_error(
    values: Float[Tensor, "M K"], rounded: Shaped[Tensor, "M K"], scale: Float[Tensor, "M 1"]
) -> Float[Tensor, "M 1"]:
    return (rounded.float() * scale - values).square().sum(dim=-1, keepdim=True)
