import torch

from worldloom.diffusion.schedule import inference_sigmas
from worldloom.diffusion.solver import solve


def straight(x0, noise):
    """The velocity of a flow whose end is known: noise - x0 everywhere."""
    return lambda noisy, sigma: (noise - x0).expand_as(noisy)


def test_euler_follows_a_straight_flow_exactly_in_one_step_or_many():
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    for steps in (1, 7):
        made = solve(straight(x0, noise), noise, inference_sigmas(steps, 3.0), "euler", None)
        torch.testing.assert_close(made, x0, atol=1e-5, rtol=1e-5)


def test_renoising_ends_at_a_perfect_models_clean_estimate():
    x0 = torch.randn(2, 3)

    def perfect(noisy, sigma):
        return (noisy - x0) / sigma[:, None]

    generator = torch.Generator().manual_seed(1)
    made = solve(perfect, torch.randn(2, 3), torch.tensor([1, 0.8, 0.5, 0.0]), "renoise", generator)
    torch.testing.assert_close(made, x0, atol=1e-5, rtol=1e-5)


def test_the_model_is_asked_at_the_given_levels_and_never_at_zero():
    asked = []

    def spy(noisy, sigma):
        asked.append(round(float(sigma[0]), 3))
        return torch.zeros_like(noisy)

    levels = torch.tensor([1.0, 0.857, 0.6, 0.0])
    solve(spy, torch.zeros(1, 2), levels, "renoise", torch.Generator().manual_seed(0))
    assert asked == [1.0, 0.857, 0.6]


def test_renoising_draws_from_its_generator():
    def half(noisy, sigma):
        return noisy * 0.5

    levels = torch.tensor([1.0, 0.5, 0.0])
    a, b, c = (
        solve(half, torch.ones(1, 4), levels, "renoise", torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
