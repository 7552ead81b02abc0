"""Noise levels of flow matching: x_sigma = (1 - sigma) x0 + sigma noise.

A shift s moves levels towards noise: sigma' = s sigma / (1 + (s - 1) sigma). Inside the project a
level is sigma in [0, 1]; a network that reads timesteps in [0, 1000] gets them from
`sigma_to_timestep`, the one place that converts tensors. Lists of levels are what the model sees,
shift included. It knows no model.

Letters: B batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.levels import NUM_TRAIN_TIMESTEPS

Latents = Float[Tensor, "B *rest"]


def shift_sigma(sigma: Float[Tensor, "*shape"], timestep_shift: float) -> Float[Tensor, "*shape"]:
    """Return sigma moved towards noise by a shift."""
    return timestep_shift * sigma / (1 + (timestep_shift - 1) * sigma)


def sigma_to_timestep(
    sigma: Float[Tensor, "*shape"], *, is_truncated: bool = False
) -> Float[Tensor, "*shape"]:
    """Return timesteps in [0, 1000]; truncated to whole numbers as the reference's sampler does.

    float64 carries the product, so that a level stored in float32 is not rounded up first.
    """
    timestep = NUM_TRAIN_TIMESTEPS * sigma.double()
    return (timestep.floor() if is_truncated else timestep).to(sigma.dtype)


def timestep_to_sigma(timestep: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return sigma in [0, 1] of timesteps in [0, 1000]."""
    return timestep / NUM_TRAIN_TIMESTEPS


def sample_sigma(
    count: int,
    timestep_shift: float,
    generator: torch.Generator,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Float[Tensor, " count"]:
    """Draw `count` noise levels for training: uniform in [low, high], then shifted."""
    uniform = low + (high - low) * torch.rand(count, generator=generator, device=generator.device)
    return shift_sigma(uniform, timestep_shift)


def inference_sigmas(num_inference_steps: int, timestep_shift: float) -> Float[Tensor, " steps"]:
    """Return the levels [steps + 1] of a solver, from 1 down to 0."""
    return shift_sigma(torch.linspace(1, 0, num_inference_steps + 1), timestep_shift)


def add_noise(x0: Latents, noise: Latents, sigma: Float[Tensor, " B"]) -> Latents:
    """Return x_sigma; sigma [B] broadcasts over the rest."""
    level = sigma.view(-1, *[1] * (x0.ndim - 1))
    return (1 - level) * x0 + level * noise


def velocity_to_x0(
    noisy: Latents,
    velocity: Latents,
    sigma: Float[Tensor, " B"],
) -> Latents:
    """Return the clean estimate x_sigma - sigma v; sigma [B] broadcasts over the rest."""
    return noisy - sigma.view(-1, *[1] * (noisy.ndim - 1)) * velocity
