"""The loop and the two simple solvers: what the model is asked, and where they end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worldloom.diffusion.schedule import inference_sigmas
from worldloom.diffusion.solver import SolverName, make_solver, solve
from worldloom.diffusion.solver_state import SolverState, hold_first

ALL: list[SolverName] = ["euler", "renoise", "unipc"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def straight(x0: Tensor, noise: Tensor):
    """The velocity of a flow whose end is known: noise - x0 everywhere."""
    return lambda noisy, sigma: (noise - x0).expand_as(noisy)


def towards(x0: Tensor):
    """The velocity of a model that knows the clean latents, wherever it is asked."""
    return lambda noisy, sigma: (noisy - x0) / sigma.view(-1, *[1] * (noisy.ndim - 1))


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_a_straight_flow_is_followed_exactly_in_one_step_or_many(solver: SolverName) -> None:
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    for steps in (1, 2, 3, 7):
        made = solve(straight(x0, noise), noise, inference_sigmas(steps, 3.0), solver, None)
        torch.testing.assert_close(made, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ALL)
def test_every_solver_ends_at_a_perfect_models_clean_estimate(solver: SolverName) -> None:
    x0 = torch.randn(2, 3)
    levels = torch.tensor([1, 0.8, 0.5, 0.2, 0.0])
    made = solve(towards(x0), torch.randn(2, 3), levels, solver, generator(1))
    torch.testing.assert_close(made, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ALL)
def test_the_model_is_asked_at_the_given_levels_and_never_at_zero(solver: SolverName) -> None:
    asked = []

    def spy(noisy: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (2,)
        asked.append(round(float(sigma[0]), 3))
        return torch.zeros_like(noisy)

    levels = torch.tensor([1.0, 0.857, 0.6, 0.0])
    solve(spy, torch.zeros(2, 2), levels, solver, generator())
    assert asked == [1.0, 0.857, 0.6]


@pytest.mark.parametrize("solver", ALL)
def test_steps_by_hand_are_the_loop(solver: SolverName) -> None:
    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(noisy) * (1 + sigma[:, None])

    noise, sigmas = torch.randn(2, 3), inference_sigmas(5, 3.0)
    stepper, draws = make_solver(solver, sigmas), generator(4)
    state = SolverState(noise)
    while state.step_index < 5:
        asked = velocity(state.latents, stepper.sigmas[state.step_index].expand(2))
        state = stepper.step(state, asked, draws)
    assert torch.equal(state.latents, solve(velocity, noise, sigmas, solver, generator(4)))


@pytest.mark.parametrize("solver", ALL)
def test_known_latents_are_put_back_before_every_forward_and_at_the_end(solver: SolverName) -> None:
    known = torch.full((1, 2, 1, 2, 2), 7.0)
    seen = []

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        seen.append(noisy[:, :, :1].clone())
        return torch.ones_like(noisy)

    noise = torch.randn(1, 2, 3, 2, 2)
    made = solve(velocity, noise, inference_sigmas(3, 5.0), solver, generator(), hold_first(known))
    assert made.shape == noise.shape
    assert all(torch.equal(front, known) for front in [*seen, made[:, :, :1]])
    assert not (made[:, :, 1:] == 7.0).any()


def test_what_is_put_back_does_not_reach_the_other_latents_by_the_solver() -> None:
    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(noisy) * (1 + sigma.view(-1, 1, 1, 1, 1))

    noise, levels = torch.randn(1, 2, 3, 2, 2), inference_sigmas(4, 5.0)
    held = solve(
        velocity, noise, levels, "unipc", None, hold_first(torch.full((1, 2, 1, 2, 2), 9.0))
    )
    free = solve(velocity, noise, levels, "unipc", None)
    assert torch.equal(held[:, :, 1:], free[:, :, 1:])


def test_renoising_draws_from_its_generator() -> None:
    def half(noisy: Tensor, sigma: Tensor) -> Tensor:
        return noisy * 0.5

    levels = torch.tensor([1.0, 0.5, 0.0])
    a, b, c = (
        solve(half, torch.ones(1, 4), levels, "renoise", generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_renoising_without_a_generator_is_refused() -> None:
    with pytest.raises(ValueError, match="solver renoise: no generator was given"):
        solve(
            towards(torch.zeros(1, 4)), torch.ones(1, 4), inference_sigmas(2, 1.0), "renoise", None
        )


def test_renoising_must_end_at_zero() -> None:
    with pytest.raises(ValueError, match=r"sigmas end at 0\.5: expected 0"):
        make_solver("renoise", torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("levels", [[1.0], [0.5, 0.5, 0.0], [0.2, 0.6, 0.0], [1.5, 0.0], [1, -0.1]])
def test_levels_that_do_not_fall_are_refused(solver: SolverName, levels: list[float]) -> None:
    with pytest.raises(ValueError, match="expected two or more falling levels"):
        make_solver(solver, torch.tensor(levels))


@pytest.mark.parametrize("solver", ALL)
def test_the_latents_keep_their_dtype(solver: SolverName) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        noise = torch.randn(2, 3).to(dtype)
        made = solve(lambda x, s: x, noise, inference_sigmas(4, 5.0), solver, generator())
        assert made.dtype == dtype
        assert torch.isfinite(made).all()
