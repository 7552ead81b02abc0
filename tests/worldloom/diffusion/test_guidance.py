"""One formula of guidance, and what a scale costs."""

from __future__ import annotations

import torch
from torch import Tensor

from worldloom.diffusion.guidance import guide, guided_velocity


class Branch:
    """A velocity that counts how often it is asked."""

    def __init__(self, value: float) -> None:
        self.value, self.calls = value, 0

    def __call__(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return torch.full_like(noisy, self.value)


def test_guidance_goes_past_the_conditional_from_the_unconditional() -> None:
    assert float(guide(torch.tensor(1.0), torch.tensor(3.0), 5.0)) == 11.0
    assert float(guide(torch.tensor(1.0), torch.tensor(3.0), 0.0)) == 1.0


def test_a_scale_of_5_costs_two_forwards_a_step() -> None:
    cond, uncond = Branch(3.0), Branch(1.0)
    made = guided_velocity(cond, uncond, 5.0)(torch.zeros(2, 3), torch.ones(2))
    assert torch.equal(made, torch.full((2, 3), 11.0))
    assert (cond.calls, uncond.calls) == (1, 1)


def test_a_scale_of_1_costs_one_forward_and_changes_nothing() -> None:
    cond, uncond = Branch(3.0), Branch(1.0)
    made = guided_velocity(cond, uncond, 1.0)(torch.zeros(2, 3), torch.ones(2))
    assert torch.equal(made, torch.full((2, 3), 3.0))
    assert (cond.calls, uncond.calls) == (1, 0)
