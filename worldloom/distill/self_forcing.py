"""The scored segment of a self-rollout: generated with a gradient at one random step.

Earlier segments give context only; the last one is what a loss looks at, and only its last
executed denoising step carries a gradient (Self-Forcing; Matrix-Game 3.0, multi-segment
distillation). It does not know scores or optimisers.

Letters: B batch, C channels, T latents of a segment.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.schedule import add_noise, velocity_to_x0
from worldloom.distill.draws import Draws
from worldloom.rollout.config import SamplerConfig
from worldloom.train.self_rollout import (
    SegmentView,
    Velocity,
    roll_out,
    segment_shape,
    velocity_of,
    view_segment,
)

__all__ = [
    "SegmentView",
    "Velocity",
    "generate_with_gradient",
    "roll_out",
    "segment_shape",
    "velocity_of",
    "view_segment",
]


def generate_with_gradient(
    velocity: Velocity,
    shape: tuple[int, ...],
    sampler: SamplerConfig,
    draws: Draws,
    device: torch.device,
) -> Float[Tensor, "B C T H W"]:
    """Return the clean estimate at a random exit step, the one with a gradient."""
    count = len(sampler.sigmas)
    exit_step = int(torch.randint(0, count, (), generator=draws.choices))
    x = draws.normal(shape, device)
    for step, sigma_value in enumerate(sampler.sigmas[: exit_step + 1]):
        sigma = torch.full((shape[0],), sigma_value, device=device)
        with torch.set_grad_enabled(step == exit_step):
            x0 = velocity_to_x0(x, velocity(x, sigma), sigma)
        if step < exit_step:
            x = add_noise(
                x0, draws.normal(shape, device), torch.full_like(sigma, sampler.sigmas[step + 1])
            )
    return x0
