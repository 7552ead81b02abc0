"""A linear layer's answer to rows, finished or not.

An 8-bit product is a sum times a scale of its row and one of its column, plus a bias. Whoever reads
it next goes over its rows anyway, so where the plain product is the faster one (narrow outputs, few
rows: measured on an H100, by a fifth) it is handed over unfinished and finished there. It does not
know who reads it.

Letters: R rows, K features in, H features out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.quantize.eight_bit_linear import EightBitLinear
from worldloom.quantize.fp8_linear import Fp8Linear, fp8_sums, multiplies_fp8
from worldloom.quantize.rows import Rows

RowFormat = torch.dtype | None
"""Of the rows a layer reads: an 8-bit type, or None for full precision."""

MOST_ROWS_UNFINISHED = 8192
_MOST_COLUMNS_UNFINISHED = 4096


@dataclass(frozen=True)
class Product:
    """Sums [R, H], and what they are still to be multiplied by and added to, if anything."""

    sums: Tensor  # of heads, its rows may stand apart
    row_scale: Tensor | None = None  # [R, 1]
    column_scale: Tensor | None = None  # [H]
    bias: Tensor | None = None  # [H], of scaled sums alone

    def finished(self) -> Float[Tensor, "R H"]:
        """Return the answer."""
        if self.row_scale is None or self.column_scale is None:
            return self.sums
        answer = self.sums.float() * self.row_scale * self.column_scale
        return (answer if self.bias is None else answer + self.bias).to(self.sums.dtype)


def format_of(layer: nn.Module) -> RowFormat:
    """Return the format of the rows that a linear layer reads."""
    return layer.row_format if isinstance(layer, EightBitLinear) else None


def multiply(layer: nn.Module, rows: Rows, dtype: torch.dtype) -> Product:
    """Return a linear layer's answer to rows in its format, finished or not."""
    is_small = len(rows.values) <= MOST_ROWS_UNFINISHED
    if (
        isinstance(layer, Fp8Linear)
        and is_small
        and layer.out_features <= _MOST_COLUMNS_UNFINISHED
        and multiplies_fp8(rows.values.device)
    ):
        sums = fp8_sums(rows, layer.weight, dtype)
        return Product(sums, rows.scale, layer.weight_scale, layer.bias)
    return Product(answer_of(layer, rows, dtype))


def answer_of(layer: nn.Module, rows: Rows, dtype: torch.dtype) -> Float[Tensor, "R H"]:
    """Return a linear layer's finished answer to rows in its format."""
    if isinstance(layer, EightBitLinear):
        return layer.of_rows(rows, dtype)
    assert rows.scale is None, "rows in 8 bits go to layers in 8 bits"
    answer: Tensor = layer(rows.values)
    return answer
