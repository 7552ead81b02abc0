"""What a solver carries from step to step, and what every solver offers.

A step takes the velocity that the model gave and returns the next state; it never calls the model.
So the same solver runs in a loop (`solver.solve`), inside a captured graph, or one step a request.
Control flow hangs on `step_index` alone, a plain number. It knows no solver.

Letters: B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *rest"]
"""Latents of any layout, batch first."""

Velocity = Callable[[Latents, Float[Tensor, " B"]], Latents]
"""(noisy [B, ...], sigma [B]) to velocity [B, ...]: all that a solver sees of a model."""

Reimpose = Callable[[Latents], Latents]
"""Latents [B, ...] to latents with what is already known put back."""


@dataclass(frozen=True)
class SolverState:
    """A sampler between two steps.

    Attributes:
        latents: Noisy latents at level `step_index` of the solver's list; what the model is asked
            about next.
        step_index: Steps taken.
        estimates: Clean estimates of earlier steps that the solver still needs, latest last.
        anchor: Latents from which the latest step started, if the solver needs them.
    """

    latents: Latents
    step_index: int = 0
    estimates: tuple[Tensor, ...] = ()
    anchor: Tensor | None = None

    def reimposed(self, reimpose: Reimpose) -> SolverState:
        """Return this state with what is known put back into its latents."""
        return replace(self, latents=reimpose(self.latents))


@runtime_checkable
class Solver(Protocol):
    """A way from noise to clean latents along falling levels."""

    @property
    def sigmas(self) -> Float[Tensor, " levels"]:
        """Levels [steps + 1]; the model is asked at all but the last."""
        ...

    def step(
        self,
        state: SolverState,
        velocity: Latents,
        generator: torch.Generator | None = None,
    ) -> SolverState:
        """Return the state at the next level; velocity was asked at the state's own."""
        ...


def require_falling(sigmas: Float[Tensor, " levels"]) -> tuple[float, ...]:
    """Return the levels as numbers; raises `ValueError` unless they fall within [0, 1]."""
    levels = tuple(float(sigma) for sigma in sigmas)
    is_falling = all(a > b for a, b in pairwise(levels))
    if len(levels) < 2 or not is_falling or levels[0] > 1 or levels[-1] < 0:
        message = f"sigmas={list(levels)}: expected two or more falling levels in [0, 1]"
        raise ValueError(message)
    return levels


def hold_first(known: Float[Tensor, "B C T H W"]) -> Reimpose:
    """Return the hook that puts known latents at the front of [B, C, T + more, H, W].

    The reference puts the image, or the tail of the segment before, back after every step.
    """

    def reimpose(latents: Tensor) -> Tensor:
        return torch.cat([known.to(latents.dtype), latents[:, :, known.shape[2] :]], dim=2)

    return reimpose
