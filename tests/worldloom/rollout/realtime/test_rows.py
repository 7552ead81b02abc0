"""Rows between products: what is added, normed, modulated, activated and turned."""

import torch
from torch import nn

from worldloom.rollout.realtime.product import Product
from worldloom.rollout.realtime.rows import (
    Residual,
    Update,
    activate,
    turn_into,
    update,
)

E = 32


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_an_update_adds_norms_and_modulates_by_group():
    x, added, gate = draw(6, E), draw(6, E, seed=1), draw(3, E, seed=2)
    scale, shift = draw(3, E, seed=3), draw(3, E, seed=4)
    norm = nn.LayerNorm(E, elementwise_affine=False)
    stream, rows = update(
        Residual(x, Product(added), gate), Update(None, norm, (scale, shift)), None
    )
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
        torch.testing.assert_close(activate(Product(x), name, None, offset).values, expected)


def test_heads_are_written_behind_others_and_nowhere_else():
    buffer, x = torch.zeros(2, 5, 4, 8), draw(6, E)
    turn_into(buffer, 2, Product(x), None, None)
    assert torch.equal(buffer[:, 2:].reshape(6, E), x)
    assert not buffer[:, :2].any()
