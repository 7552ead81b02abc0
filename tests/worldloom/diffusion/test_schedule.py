import torch

from worldloom.diffusion.schedule import (
    add_noise,
    inference_sigmas,
    sample_sigma,
    shift_sigma,
    velocity_to_x0,
)


def test_the_students_three_levels_of_the_reference_follow_from_its_shift():
    # Ids 1000, 667, 333 under a shift of 5 are what the published student is asked at.
    shifted = shift_sigma(torch.tensor([1.0, 0.667, 0.333]), 5.0)
    torch.testing.assert_close(shifted, torch.tensor([1.0, 0.909, 0.714]), atol=1e-3, rtol=0)


def test_a_shift_of_one_changes_nothing():
    torch.testing.assert_close(inference_sigmas(4, 1.0), torch.tensor([1, 0.75, 0.5, 0.25, 0]))


def test_the_clean_estimate_undoes_the_noise():
    x0, noise = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    sigma = torch.tensor([0.2, 0.7, 1.0])
    noisy = add_noise(x0, noise, sigma)
    torch.testing.assert_close(velocity_to_x0(noisy, noise - x0, sigma), x0, atol=1e-6, rtol=1e-5)


def test_training_levels_lean_towards_noise():
    sigma = sample_sigma(4000, 3.0, torch.Generator().manual_seed(0))
    assert ((sigma >= 0) & (sigma <= 1)).all()
    assert abs(float(sigma.median()) - 0.75) < 0.02
