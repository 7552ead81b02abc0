"""Solvers: from noise to clean latents by a function that denoises.

`euler` follows the flow; `renoise` jumps to the clean estimate and adds fresh noise for the next
level, as few-step students are trained (Self-Forcing, DMD). A solver sees the model only as
`velocity(noisy, sigma)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from worldloom.diffusion.schedule import add_noise, velocity_to_x0

SolverName = Literal["euler", "renoise"]
Velocity = Callable[[Tensor, Tensor], Tensor]


def solve(
    velocity: Velocity,
    noise: Tensor,
    sigmas: Tensor,
    solver: SolverName,
    generator: torch.Generator | None,
) -> Tensor:
    """Return clean latents shaped like `noise` [B, ...] along sigmas [steps + 1] (1 ... 0)."""
    x = noise
    for step in range(len(sigmas) - 1):
        sigma = sigmas[step].expand(len(x))
        predicted = velocity(x, sigma)
        if solver == "euler":
            x = x + (sigmas[step + 1] - sigmas[step]) * predicted
            continue
        x = velocity_to_x0(x, predicted, sigma)
        if step + 2 < len(sigmas):
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = add_noise(x, fresh.to(x.device), sigmas[step + 1].expand(len(x)))
    return x
