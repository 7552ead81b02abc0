"""Noise levels of flow matching: x_sigma = (1 - sigma) x0 + sigma noise.

A shift s moves levels towards noise: sigma' = s sigma / (1 + (s - 1) sigma). Lists of levels are
what the model sees, shift included. It knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shift_sigma(sigma: Tensor, timestep_shift: float) -> Tensor:
    """Return sigma moved towards noise by a shift."""
    return timestep_shift * sigma / (1 + (timestep_shift - 1) * sigma)


def sample_sigma(count: int, timestep_shift: float, generator: torch.Generator) -> Tensor:
    """Draw `count` noise levels for training: uniform, then shifted."""
    return shift_sigma(torch.rand(count, generator=generator), timestep_shift)


def inference_sigmas(num_inference_steps: int, timestep_shift: float) -> Tensor:
    """Return the levels [steps + 1] of a solver, from 1 down to 0."""
    return shift_sigma(torch.linspace(1, 0, num_inference_steps + 1), timestep_shift)


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Return x_sigma; sigma [B] broadcasts over the rest."""
    level = sigma.view(-1, *[1] * (x0.ndim - 1))
    return (1 - level) * x0 + level * noise


def velocity_to_x0(noisy: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """Return the clean estimate x_sigma - sigma v; sigma [B] broadcasts over the rest."""
    return noisy - sigma.view(-1, *[1] * (noisy.ndim - 1)) * velocity
