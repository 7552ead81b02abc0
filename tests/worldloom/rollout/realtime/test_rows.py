"""Rows between products: formats follow layers, and 8-bit rows answer nearly as full ones do."""

import pytest
import torch
from torch import nn

from worldloom.quantize.fp8_linear import Fp8Linear
from worldloom.quantize.linear import Int8Linear
from worldloom.quantize.rows import FP8, INT8, Rows
from worldloom.rollout.realtime.rows import (
    Residual,
    Update,
    activate,
    format_of,
    multiply,
    turn_into,
    update,
)

E = 32


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(kind):
    linear = nn.Linear(E, 16).requires_grad_(requires_grad=False)
    return linear if kind is None else kind.from_linear(linear)


@pytest.mark.parametrize(
    ("kind", "row_format", "most"), [(None, None, 0), (Int8Linear, INT8, 0), (Fp8Linear, FP8, 0)]
)
def test_a_layer_answers_to_rows_of_its_format_as_to_tokens(kind, row_format, most):
    its = layer(kind)
    assert format_of(its) == row_format
    x = draw(6, E)
    _, rows = update(Residual(x), Update(), row_format)
    torch.testing.assert_close(multiply(its, rows, x.dtype), its(x), rtol=0, atol=most)


def test_rows_in_8_bits_are_refused_by_a_layer_in_full_precision():
    with pytest.raises(AssertionError, match="8 bits"):
        multiply(layer(None), Rows(torch.zeros(2, E).to(INT8), torch.ones(2, 1)), torch.float32)


def test_an_update_adds_norms_and_modulates_by_group():
    x, added, gate = draw(6, E), draw(6, E, seed=1), draw(3, E, seed=2)
    scale, shift = draw(3, E, seed=3), draw(3, E, seed=4)
    norm = nn.LayerNorm(E, elementwise_affine=False)
    stream, rows = update(Residual(x, added, gate), Update(None, norm, (scale, shift)), None)
    row = x[3] + added[3] * gate[1]
    torch.testing.assert_close(stream[3], row)
    torch.testing.assert_close(rows.values[3], norm(row) * (1 + scale[1]) + shift[1])


def test_a_norm_may_become_the_stream():
    x, norm = draw(6, E), nn.LayerNorm(E)
    stream, _ = update(Residual(x), Update(norm=norm, replaces=True), None)
    torch.testing.assert_close(stream, norm(x))


def test_activations_are_torchs_after_the_offset_of_a_group():
    x, offset = draw(6, E), draw(2, E, seed=1)
    moved = x + offset.repeat_interleave(3, dim=0)
    for name, expected in {
        "none": moved,
        "silu": nn.functional.silu(moved),
        "gelu": nn.functional.gelu(moved, approximate="tanh"),
    }.items():
        torch.testing.assert_close(activate(x, name, None, offset).values, expected)


def test_heads_are_written_behind_others_and_nowhere_else():
    buffer, x = torch.zeros(2, 5, 4, 8), draw(6, E)
    turn_into(buffer, 2, x, None, None)
    assert torch.equal(buffer[:, 2:].reshape(6, E), x)
    assert not buffer[:, :2].any()
