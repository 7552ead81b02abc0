"""UniPC of order 2 for flow matching: a multistep predictor with a corrector that costs nothing.

After UniPC (Zhao et al. 2023, algorithms 1 and 2), variant B2(h) = exp(h) - 1 with data prediction,
as Matrix-Game 3.0 samples. With alpha = 1 - sigma, lambda = log(alpha / sigma), h the step in
lambda, g = alpha_t - alpha_s sigma_t / sigma_s, and clean estimates m0 (latest), m1 (before it):

    predict  x_t = (sigma_t / sigma_s) x_s + g (m0 + (m1 - m0) / (2 r))
    correct  x_t = (sigma_t / sigma_s) x_s + g (m0 + (rho_1 / r) (m1 - m0) + rho_2 (m_t - m0))

where r = (lambda_before - lambda_s) / h, m_t is the estimate at the predicted x_t, and rho solves
the 2 x 2 system of the paper. The corrector reuses the forward that the next step needs anyway.
The first step and the last have no m1 (order 1). It knows no model and no schedule.

Letters: B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.solver_state import Latents, SolverState, require_falling

_ORDER = 2


@dataclass(frozen=True)
class _Move:
    """The weights of one step, from level s to level t."""

    carry: float
    gain: float
    predict_before: float
    correct_before: float
    correct_next: float


class UniPC:
    """The steps of UniPC-2 along falling levels; the state holds its history."""

    def __init__(self, sigmas: Float[Tensor, " levels"]) -> None:
        """Work out every step's weights; raises `ValueError` for levels that do not fall."""
        self.sigmas = sigmas
        self._levels = require_falling(sigmas)
        self._moves = tuple(_move(self._levels, step) for step in range(len(self._levels) - 1))

    def step(
        self,
        state: SolverState,
        velocity: Latents,
        generator: torch.Generator | None = None,  # noqa: ARG002 - nothing is drawn
    ) -> SolverState:
        """Correct the latents by the new estimate, then predict those at the next level."""
        step = state.step_index
        estimate = state.latents - self._levels[step] * velocity
        start = state.latents
        if state.anchor is not None:
            start = self._correct(self._moves[step - 1], state.anchor, state.estimates, estimate)
        estimates = (*state.estimates, estimate)[-_ORDER:]
        return SolverState(
            latents=self._predict(self._moves[step], start, estimates).to(state.latents.dtype),
            step_index=step + 1,
            estimates=estimates,
            anchor=start,
        )

    @staticmethod
    def _predict(move: _Move, start: Tensor, estimates: tuple[Tensor, ...]) -> Tensor:
        latest = estimates[-1]
        target = latest + move.predict_before * (estimates[0] - latest)
        return move.carry * start + move.gain * target

    @staticmethod
    def _correct(
        move: _Move, start: Tensor, estimates: tuple[Tensor, ...], following: Tensor
    ) -> Tensor:
        latest = estimates[-1]
        target = latest + move.correct_before * (estimates[0] - latest)
        target = target + move.correct_next * (following - latest)
        return move.carry * start + move.gain * target


def _move(levels: tuple[float, ...], step: int) -> _Move:
    """Return the weights of a step; infinite lambdas (levels 0 and 1) have finite limits."""
    s, t = levels[step], levels[step + 1]
    carry = t / s
    gain = (1 - t) - (1 - s) * carry
    if step == 0 or step + 2 == len(levels):
        return _Move(carry, gain, 0.0, 0.0, 0.5)
    h = _lambda(t) - _lambda(s)
    ratio = (_lambda(levels[step - 1]) - _lambda(s)) / h
    shrink = math.expm1(-h)
    first = (shrink / -h - 1) / shrink
    second = 2 * ((shrink / -h - 1) / -h - 0.5) / shrink
    rho_before = (first - second) / (1 - ratio)
    return _Move(carry, gain, 0.5 / ratio, rho_before / ratio, first - rho_before)


def _lambda(sigma: float) -> float:
    """Return half the log signal-to-noise ratio of a level."""
    if sigma in (0, 1):
        return math.inf if sigma == 0 else -math.inf
    return math.log((1 - sigma) / sigma)
