"""8-bit rows: the largest value takes the format's largest number."""

import pytest
import torch

from worldloom.quantize.rows import FP8, INT8, LARGEST, fit_rows, quantize_rows


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


def squared_errors(values, rounded, scale):
    return (rounded.float() * scale - values).square().sum(dim=1)


def test_fp8_weights_take_the_scale_at_which_each_row_errs_least():
    values = torch.randn(32, 192, generator=torch.Generator().manual_seed(0))
    plain, fitted = (squared_errors(values, *f(values, FP8)) for f in (quantize_rows, fit_rows))
    assert (fitted <= plain).all()
    assert fitted.sum() < 0.9 * plain.sum()
    rounded, scale = fit_rows(values, FP8)
    assert rounded.dtype == FP8
    assert torch.isfinite(rounded.float()).all()
    # A row between two scales of the octave is one that its largest number alone would not fit.
    ratio = scale / quantize_rows(values, FP8)[1]
    assert ratio.min() >= 1
    assert ratio.max() < 2


def test_int8_weights_keep_the_scale_of_their_largest_number():
    values = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(fit_rows(values, INT8), quantize_rows(values, INT8), strict=True):
        assert torch.equal(found, expected)
