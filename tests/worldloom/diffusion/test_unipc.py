"""UniPC-2 against its published formulas, against arithmetic by hand, and by its order."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldloom.diffusion.levels import sampler_levels
from worldloom.diffusion.schedule import inference_sigmas
from worldloom.diffusion.solver import SolverName, solve

Array = NDArray[np.float64]


def phi(order: int, z: float) -> float:
    """phi_1(z) = (e^z - 1) / z, phi_{k+1}(z) = (phi_k(z) - 1/k!) / z."""
    if order == 1:
        return math.expm1(z) / z
    return (phi(order - 1, z) - 1 / math.factorial(order - 1)) / z


def published_weights(order: int, ratios: list[float], z: float) -> Array:
    """Solve R a = b with R_ij = r_j^(i-1) and b_i = z phi_{i+1}(z) i! / B(z), B(z) = e^z - 1."""
    matrix = np.array([[r**row for r in ratios] for row in range(order)])
    right = [z * phi(k + 1, z) * math.factorial(k) / math.expm1(z) for k in range(1, order + 1)]
    return np.linalg.solve(matrix, np.array(right))


def published_unipc(
    velocity: Callable[[Array, float], Array], x: Array, sigmas: list[float]
) -> Array:
    """UniPC-2 with B2(h), data prediction and lower order at the end, level by level, in float64.

    For flows alpha = 1 - sigma. Two simplifications are the published ones: a predictor of order 2
    weighs its difference by 1/2, and so does a corrector of order 1.
    """
    lam = [math.log((1 - s) / s) if 0 < s < 1 else math.inf for s in sigmas]
    steps = len(sigmas) - 1
    estimates: list[Array] = []
    anchor, last_order = x, 0

    def base(start: Array, m0: Array, i: int) -> tuple[Array, float, float]:
        z = -(lam[i + 1] - lam[i])
        grown = math.expm1(z) if math.isfinite(z) else -1.0
        alpha = 1 - sigmas[i + 1]
        return sigmas[i + 1] / sigmas[i] * start - alpha * grown * m0, alpha * grown, z

    def differences(i: int, order: int, target: float) -> list[tuple[float, Array]]:
        found = []
        for back in range(1, order):
            ratio = (lam[i - back] - lam[i]) / (target - lam[i])
            found.append((ratio, (estimates[-1 - back] - estimates[-1]) / ratio))
        return found

    for i in range(steps):
        estimate = x - sigmas[i] * velocity(x, sigmas[i])
        if i:
            line, scale, z = base(anchor, estimates[-1], i - 1)
            known = differences(i - 1, last_order, lam[i])
            weights = (
                np.array([0.5])
                if last_order == 1
                else published_weights(last_order, [r for r, _ in known] + [1.0], z)
            )
            pull = sum((w * d for w, (_, d) in zip(weights, known, strict=False)), np.zeros_like(x))
            x = line - scale * (pull + weights[-1] * (estimate - estimates[-1]))
        estimates.append(estimate)
        anchor, last_order = x, min(2, steps - i, i + 1)
        line, scale, _ = base(x, estimates[-1], i)
        pull = sum((0.5 * d for _, d in differences(i, last_order, lam[i + 1])), np.zeros_like(x))
        x = line - scale * pull
    return x


def bent(noisy: Tensor, sigma: Tensor) -> Tensor:
    level = sigma.view(-1, *[1] * (noisy.ndim - 1))
    return torch.sin(2 * noisy) + noisy * level**2 + 0.3


def bent_in_numpy(noisy: Array, sigma: float) -> Array:
    return np.sin(2 * noisy) + noisy * sigma**2 + 0.3


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 12, 50])
def test_every_step_count_equals_the_published_formulas(steps: int) -> None:
    noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigmas = sampler_levels(steps, 5.0).sigmas
    made = solve(bent, noise, torch.tensor(sigmas, dtype=torch.float64), "unipc", None)
    expected = published_unipc(bent_in_numpy, noise.numpy(), list(sigmas))
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-9, atol=1e-11)


def test_levels_that_do_not_end_at_zero_equal_them_too() -> None:
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sigmas = [0.95, 0.8, 0.55, 0.3, 0.1]
    made = solve(bent, noise, torch.tensor(sigmas, dtype=torch.float64), "unipc", None)
    expected = published_unipc(bent_in_numpy, noise.numpy(), sigmas)
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-10)


def identity(noisy: Tensor, sigma: Tensor) -> Tensor:
    """The toy model v = x, whose clean estimate is (1 - sigma) x."""
    return noisy


def test_three_steps_of_a_toy_model_are_what_a_pencil_finds() -> None:
    # alpha/sigma = 1/4, 1, 4 makes every h = ln 4 and r = -1. From x = 1 at 4/5, m0 = 1/5:
    # predict 5/8 + 3/8 m0 = 0.7; m1 = 0.35; correct 5/8 + 3/8 (m0 + (m1 - m0)/2) = 0.728125;
    # predict 2/5 0.728125 + 3/5 (m1 - (m0 - m1)/2) = 0.54625; the last step is its estimate.
    made = solve(
        identity,
        torch.ones(1, 1).double(),
        torch.tensor([0.8, 0.5, 0.2, 0.0]).double(),
        "unipc",
        None,
    )
    assert float(made) == pytest.approx(0.8 * 0.54625, rel=1e-7)


def test_four_steps_of_it_use_the_corrector_of_order_two() -> None:
    # One level more, alpha/sigma = 16. With L = ln 4, the 2 x 2 system of the second step has
    # rho_1 = 5 / (6 L) - 1 / L^2 and rho_2 = 4/3 - 1/L - rho_1, and r = -1.
    log4 = math.log(4)
    rho_1 = 5 / (6 * log4) - 1 / log4**2
    rho_2 = 4 / 3 - 1 / log4 - rho_1
    m1, m2 = 0.35, 0.8 * 0.54625
    corrected = 0.4 * 0.728125 + 0.6 * (m1 - rho_1 * (0.2 - m1) + rho_2 * (m2 - m1))
    predicted = 5 / 17 * corrected + 12 / 17 * (m2 - 0.5 * (m1 - m2))
    levels = torch.tensor([4 / 5, 1 / 2, 1 / 5, 1 / 17, 0.0], dtype=torch.float64)
    made = solve(identity, torch.ones(1, 1).double(), levels, "unipc", None)
    assert float(made) == pytest.approx(16 / 17 * predicted, rel=1e-12)


def gaussian_error(solver: SolverName, steps: int) -> float:
    """The error at the end of a flow whose data are N(1.5, 0.4^2), from noise 0.8 at level 1.

    The clean estimate of such data is known, and so is the end of every path: mean + std noise.
    """
    mean, std, start = 1.5, 0.4, 0.8

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[:, None]
        kept = 1 - level
        gain = kept * std**2 / (kept**2 * std**2 + level**2)
        x0 = mean + gain * (noisy - kept * mean)
        return (noisy - x0) / level

    noise = torch.full((1, 1), start, dtype=torch.float64)
    made = solve(velocity, noise, inference_sigmas(steps, 1.0).double(), solver, None)
    return abs(float(made) - (mean + std * start))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("unipc", 2)])
def test_the_order_of_convergence_is_measured(solver: SolverName, order: int) -> None:
    errors = [gaussian_error(solver, steps) for steps in (40, 80, 160, 320)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.15), orders


def test_few_steps_are_far_better_than_eulers() -> None:
    for steps in (10, 20, 40):
        assert gaussian_error("unipc", steps) < 0.2 * gaussian_error("euler", steps)


def test_gradients_pass_through_every_step() -> None:
    noise = torch.randn(1, 3, requires_grad=True)
    solve(bent, noise, inference_sigmas(4, 5.0), "unipc", None).sum().backward()
    assert noise.grad is not None
    assert torch.isfinite(noise.grad).all()
    assert noise.grad.all()
