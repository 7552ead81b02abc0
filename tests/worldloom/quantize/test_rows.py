"""8-bit rows: the largest value takes the format's largest number."""

import pytest
import torch

from worldloom.quantize.rows import FP8, INT8, LARGEST, quantize_rows


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [INT8, FP8])
def test_largest_value_of_a_row_becomes_the_largest_number(dtype):
    quantized, _ = quantize_rows(draw(50, 40), dtype)
    assert torch.equal(quantized.float().abs().amax(-1), torch.full((50,), LARGEST[dtype]))


@pytest.mark.parametrize(("dtype", "most"), [(INT8, 0.005), (FP8, 0.036)])
def test_values_times_scale_are_the_row(dtype, most):
    rows = draw(50, 40)
    quantized, scale = quantize_rows(rows, dtype)
    back = quantized.float() * scale
    assert ((back - rows).abs().amax(-1) / rows.abs().amax(-1)).max() < most


def test_a_row_of_zeros_has_a_scale_that_divides():
    assert quantize_rows(torch.zeros(2, 8))[1].min() > 0
