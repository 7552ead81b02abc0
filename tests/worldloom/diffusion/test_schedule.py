"""Levels and timesteps as tensors: the shift, the draw, the noise and its undoing."""

from __future__ import annotations

import pytest
import torch

from worldloom.diffusion.levels import sampler_levels
from worldloom.diffusion.schedule import (
    add_noise,
    inference_sigmas,
    sample_sigma,
    shift_sigma,
    sigma_to_timestep,
    timestep_to_sigma,
    velocity_to_x0,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_students_three_levels_of_the_reference_follow_from_its_shift() -> None:
    # Ids 1000, 667, 333 under a shift of 5 are what the published student is asked at.
    shifted = shift_sigma(torch.tensor([1.0, 0.667, 0.333]), 5.0)
    torch.testing.assert_close(shifted, torch.tensor([1.0, 0.909, 0.714]), atol=1e-3, rtol=0)


def test_a_shift_of_one_changes_nothing() -> None:
    torch.testing.assert_close(inference_sigmas(4, 1.0), torch.tensor([1, 0.75, 0.5, 0.25, 0]))


def test_levels_in_float32_are_told_as_the_references_whole_timesteps() -> None:
    for num_steps in range(1, 101):
        levels = sampler_levels(num_steps, 5.0)
        told = sigma_to_timestep(torch.tensor(levels.sigmas[:-1]), is_truncated=True)
        assert told.tolist() == list(levels.timesteps)


def test_timesteps_and_levels_are_each_others_inverse() -> None:
    sigma = torch.tensor([0.0, 0.25, 1.0])
    assert sigma_to_timestep(sigma).tolist() == [0, 250, 1000]
    torch.testing.assert_close(timestep_to_sigma(sigma_to_timestep(sigma)), sigma)


def test_the_clean_estimate_undoes_the_noise() -> None:
    x0, noise = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    sigma = torch.tensor([0.2, 0.7, 1.0])
    noisy = add_noise(x0, noise, sigma)
    torch.testing.assert_close(velocity_to_x0(noisy, noise - x0, sigma), x0, atol=1e-6, rtol=1e-5)


def test_training_levels_lean_towards_noise() -> None:
    sigma = sample_sigma(4000, 3.0, generator())
    assert ((sigma >= 0) & (sigma <= 1)).all()
    assert abs(float(sigma.median()) - 0.75) < 0.02


def test_a_range_is_drawn_from_before_the_shift() -> None:
    sigma = sample_sigma(4000, 5.0, generator(), low=0.02, high=0.98)
    ends = shift_sigma(torch.tensor([0.02, 0.98]), 5.0)
    assert float(sigma.min()) == pytest.approx(float(ends[0]), abs=0.01)
    assert float(sigma.max()) == pytest.approx(float(ends[1]), abs=0.001)
    assert ((sigma >= ends[0]) & (sigma <= ends[1])).all()


def test_unshifted_training_levels_are_uniform() -> None:
    sigma = sample_sigma(20_000, 1.0, generator())
    counts = torch.histc(sigma, 10, 0, 1)
    # Five standard deviations of a binomial count of 20,000 draws in 10 bins.
    assert (counts - 2000).abs().max() < 5 * (20_000 * 0.1 * 0.9) ** 0.5
