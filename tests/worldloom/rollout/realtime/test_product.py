"""Answers of layers to rows: formats follow layers, and an answer is finished by its reader."""

import pytest
import torch
from torch import nn

from worldloom.quantize.fp8_linear import Fp8Linear
from worldloom.quantize.linear import Int8Linear
from worldloom.quantize.rows import FP8, INT8, Rows
from worldloom.rollout.realtime.product import Product, answer_of, format_of, multiply
from worldloom.rollout.realtime.rows import Residual, Update, update

E = 32


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(kind):
    linear = nn.Linear(E, 16).requires_grad_(requires_grad=False)
    return linear if kind is None else kind.from_linear(linear)


@pytest.mark.parametrize(
    ("kind", "row_format"), [(None, None), (Int8Linear, INT8), (Fp8Linear, FP8)]
)
def test_a_layer_answers_to_rows_of_its_format_as_to_tokens(kind, row_format):
    its = layer(kind)
    assert format_of(its) == row_format
    x = draw(6, E)
    _, rows = update(Residual(x), Update(), row_format)
    assert torch.equal(answer_of(its, rows, x.dtype), its(x))
    assert torch.equal(multiply(its, rows, x.dtype).finished(), its(x))


def test_rows_in_8_bits_are_refused_by_a_layer_in_full_precision():
    with pytest.raises(AssertionError, match="8 bits"):
        multiply(layer(None), Rows(torch.zeros(2, E).to(INT8), torch.ones(2, 1)), torch.float32)


def test_an_unfinished_answer_is_scaled_by_row_and_column_and_then_biased():
    sums, by_row, by_column, bias = draw(6, 8), draw(6, 1), draw(8), draw(8)
    finished = Product(sums, by_row, by_column, bias).finished()
    assert finished[4, 5] == sums[4, 5] * by_row[4, 0] * by_column[5] + bias[5]
    assert torch.equal(Product(sums).finished(), sums)
