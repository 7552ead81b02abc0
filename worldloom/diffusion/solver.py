"""Solvers: from noise to clean latents by a function that denoises.

`euler` follows the flow; `renoise` jumps to the clean estimate and adds fresh noise for the next
level, as few-step students are trained (Self-Forcing, DMD); `unipc` is the reference's sampler.
A solver sees the model only as `velocity(noisy, sigma)`; `solve` is the loop, and each solver's
`step` can be run without it.

Letters: B batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.from_host import to_device
from worldloom.diffusion.schedule import add_noise, velocity_to_x0
from worldloom.diffusion.solver_state import (
    Latents,
    Reimpose,
    Solver,
    SolverState,
    Velocity,
    require_falling,
)
from worldloom.diffusion.unipc import UniPC

__all__ = ["Euler", "Renoise", "SolverName", "UniPC", "Velocity", "make_solver", "solve"]

SolverName = Literal["euler", "renoise", "unipc"]


class Euler:
    """Steps along the velocity; order 1."""

    def __init__(self, sigmas: Float[Tensor, " levels"]) -> None:
        """Take the levels; raises `ValueError` unless they fall."""
        self._levels = require_falling(sigmas)
        self.sigmas = sigmas

    def step(
        self,
        state: SolverState,
        velocity: Latents,
        generator: torch.Generator | None = None,  # noqa: ARG002 - nothing is drawn
    ) -> SolverState:
        """Go to the next level along the velocity."""
        step = state.step_index
        difference = _level_of(self._levels[step + 1], state, self.sigmas.dtype)
        difference = difference - _level_of(self._levels[step], state, self.sigmas.dtype)
        latents = state.latents + difference[0] * velocity
        return SolverState(latents.to(state.latents.dtype), step + 1)


class Renoise:
    """Jumps to the clean estimate, then to the next level by fresh noise; the last level is 0."""

    def __init__(self, sigmas: Float[Tensor, " levels"]) -> None:
        """Take the levels; raises `ValueError` unless they fall to 0."""
        self._levels = require_falling(sigmas)
        if self._levels[-1] != 0:
            message = f"sigmas end at {float(sigmas[-1])}: expected 0 for a solver that re-noises"
            raise ValueError(message)
        self.sigmas = sigmas

    def step(
        self,
        state: SolverState,
        velocity: Latents,
        generator: torch.Generator | None = None,
    ) -> SolverState:
        """Take the clean estimate, and noise it for the next level unless that is 0.

        Noise is drawn where the generator lives, so results do not depend on the latents' device.
        """
        step = state.step_index
        dtype, level_dtype = state.latents.dtype, self.sigmas.dtype
        level = _level_of(self._levels[step], state, level_dtype)
        latents = velocity_to_x0(state.latents, velocity, level)
        if step + 2 < len(self.sigmas):
            if generator is None:
                message = "solver renoise: no generator was given, expected one to draw noise from"
                raise ValueError(message)
            fresh = torch.randn(
                latents.shape, generator=generator, dtype=latents.dtype, device=generator.device
            )
            level = _level_of(self._levels[step + 1], state, level_dtype)
            latents = add_noise(latents, to_device(fresh, latents.device), level)
        return SolverState(latents.to(dtype), step + 1)


_SOLVERS: dict[SolverName, type[Euler | Renoise | UniPC]] = {
    "euler": Euler,
    "renoise": Renoise,
    "unipc": UniPC,
}


def make_solver(name: SolverName, sigmas: Float[Tensor, " levels"]) -> Solver:
    """Return the solver of that name along sigmas [steps + 1].

    Raises:
        ValueError: for levels that do not fall within [0, 1], or an unknown name.
    """
    if name not in _SOLVERS:
        message = f"solver {name!r}: expected one of {', '.join(_SOLVERS)}"
        raise ValueError(message)
    return _SOLVERS[name](sigmas)


def solve(
    velocity: Velocity,
    noise: Latents,
    sigmas: Float[Tensor, " levels"],
    solver: SolverName,
    generator: torch.Generator | None,
    reimpose: Reimpose | None = None,
) -> Latents:
    """Return clean latents shaped like `noise` [B, ...] along sigmas [steps + 1] (1 ... 0).

    Args:
        velocity: Asked once a step; sigma comes as [B].
        noise: Latents at the first level; their dtype is kept throughout.
        sigmas: Falling levels, on the CPU: elsewhere reading them would wait for a device.
        solver: Which way to go.
        generator: Source of fresh noise; `renoise` alone draws.
        reimpose: Puts known latents back, before the first step and after each.
    """
    stepper = make_solver(solver, sigmas)
    state = SolverState(noise if reimpose is None else reimpose(noise))
    for level in sigmas.tolist()[:-1]:
        predicted = velocity(state.latents, _level_of(level, state, sigmas.dtype))
        state = stepper.step(state, predicted, generator)
        if reimpose is not None:
            state = state.reimposed(reimpose)
    return state.latents


def _level_of(level: float, state: SolverState, dtype: torch.dtype) -> Tensor:
    """Return a level [B] where the latents are; nobody waits for it to get there."""
    return torch.full((len(state.latents),), level, dtype=dtype, device=state.latents.device)
