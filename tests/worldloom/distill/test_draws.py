"""Choices and noise follow from one seed, wherever noise is drawn."""

import torch

from worldloom.distill.draws import Draws

CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_host_draws_noise_and_choices_in_turn():
    drawn = Draws.of_host(generator(0)).normal((2, 3), CPU)
    assert torch.equal(drawn, torch.randn(2, 3, generator=generator(0)))


def test_noise_of_its_own_generator_leaves_the_choices_as_they_are():
    one, other = (Draws.with_noise_on(CPU, generator(0)) for _ in range(2))
    first = one.normal((4,), CPU)
    assert torch.equal(first, other.normal((4,), CPU))
    one.normal((100,), CPU)
    assert torch.rand((), generator=one.choices) == torch.rand((), generator=other.choices)
    assert not torch.equal(first, Draws.with_noise_on(CPU, generator(1)).normal((4,), CPU))
