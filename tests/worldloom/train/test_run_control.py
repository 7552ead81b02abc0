"""Draws by step, and a budget of time."""

from __future__ import annotations

import pytest
import torch

from worldloom.train import run_control
from worldloom.train.run_control import TimeBudget, step_generator


def test_draws_follow_from_seed_and_step() -> None:
    def draw(seed: int, step: int) -> float:
        return torch.rand((), generator=step_generator(seed, step)).item()

    assert draw(3, 4) == draw(3, 4)
    assert len({draw(3, 4), draw(4, 3), draw(3, 5)}) == 3


def test_a_budget_is_over_when_its_time_is_and_the_rate_falls_before(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(run_control.time, "monotonic", lambda: now[0])
    budget = TimeBudget(10.0, decay_share=0.2)
    assert (budget.is_over(), budget.rate_scale()) == (False, 1.0)
    now[0] = 109.0
    assert budget.rate_scale() == pytest.approx(0.5)
    now[0] = 110.0
    assert (budget.is_over(), budget.rate_scale()) == (True, 0.0)
    assert TimeBudget(10.0).rate_scale() == 1.0
