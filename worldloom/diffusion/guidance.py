"""Classifier-free guidance, in the one convention of the project: uncond + s (cond - uncond).

A scale of 1 is the conditional model and costs one forward, any other costs two. The base model of
Matrix-Game 3.0 samples at 5, its student at 1. (Others write cond + s (cond - uncond); their s is
one less.) It does not know what is left out of the unconditional branch.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.solver_state import Velocity

REFERENCE_BASE_SCALE = 5.0


def guide(
    uncond: Float[Tensor, "*shape"], cond: Float[Tensor, "*shape"], guidance_scale: float
) -> Float[Tensor, "*shape"]:
    """Return uncond + guidance_scale (cond - uncond)."""
    return uncond + guidance_scale * (cond - uncond)


def guided_velocity(cond: Velocity, uncond: Velocity, guidance_scale: float) -> Velocity:
    """Return the velocity function that both branches make; at scale 1 that is `cond` itself."""
    if guidance_scale == 1:
        return cond

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        return guide(uncond(noisy, sigma), cond(noisy, sigma), guidance_scale)

    return velocity
