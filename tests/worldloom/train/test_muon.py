"""Muon against torch's own, its directions, and what it leaves to AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worldloom.train.muon import Muon, is_hidden_matrix, orthogonalised, split_matrices


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def give_gradients(members: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for one in members:
        one.grad = torch.randn(one.shape, generator=generator)


def muon(matrices: list[nn.Parameter], others: list[nn.Parameter]) -> Muon:
    return Muon(
        {"params": matrices, "weight_decay": 0.1},
        [{"params": others, "weight_decay": 0.0}],
        rate=0.02,
        betas=(0.9, 0.99),
        fused=False,
    )


def test_singular_values_come_near_one_and_vectors_stay() -> None:
    matrices = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(1))
    matrices[1] *= 1e-4
    made = orthogonalised(matrices)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    # In the basis of the matrix's own singular vectors the result is nearly diagonal.
    turned = left.mT @ made @ right.mT
    off = turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 0.05


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


def test_several_steps_are_those_of_torch() -> None:
    shapes = [(24, 16), (16, 24), (24, 16), (8, 8)]
    ours, theirs = parameters(*shapes), parameters(*shapes)
    (vector,) = parameters((5,))
    mine = muon(ours, [vector])
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)
        assert (one - other).abs().mean() < 2e-4


def test_everything_else_is_moved_by_adamw() -> None:
    (matrix,) = parameters((6, 4))
    ours, theirs = parameters((5,), (3, 2)), parameters((5,), (3, 2))
    mine = muon([matrix], ours)
    reference = torch.optim.AdamW(theirs, lr=0.02, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(3):
        give_gradients([matrix], step)
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_a_matrix_without_a_gradient_is_left_alone() -> None:
    first, second = parameters((6, 4), (6, 4))
    optimiser = muon([first, second], [])
    give_gradients([first], 0)
    kept = second.detach().clone()
    optimiser.step()
    assert torch.equal(second, kept)


def test_matrices_of_blocks_are_hidden_and_nothing_else() -> None:
    matrix, vector, table = torch.zeros(4, 4), torch.zeros(4), torch.zeros(1, 6, 4)
    named = {
        "blocks.0.q.weight": matrix,
        "blocks.0.q.bias": vector,
        "blocks.0.modulation": table,
        "head.weight": matrix,
    }
    hidden, others = split_matrices(named.items())
    assert list(hidden) == ["blocks.0.q.weight"]
    assert list(others) == ["blocks.0.q.bias", "blocks.0.modulation", "head.weight"]
    assert not is_hidden_matrix("head.weight", matrix)


def test_a_closure_is_refused() -> None:
    (matrix,) = parameters((6, 4))
    with pytest.raises(ValueError, match="closure"):
        muon([matrix], []).step(lambda: 0.0)
