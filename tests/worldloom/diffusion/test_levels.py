"""The reference's lists of levels in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest

from worldloom.diffusion.levels import sampler_levels, shift_level, warped_levels

# Written down from a run of the published schedule's formulas in numpy, shift 5.
FIFTY = [
    999, 995, 991, 987, 982, 978, 973, 968, 963, 957, 952, 946, 940, 934, 927, 920, 913, 906, 898,
    890, 882, 873, 863, 854, 843, 833, 821, 809, 796, 783, 768, 753, 737, 720, 701, 681, 660, 636,
    611, 584, 555, 522, 487, 448, 405, 356, 302, 241, 172, 92,
]  # fmt: skip


def exact_timesteps(num_steps: int, shift: int) -> list[int]:
    """The sampler's list in fractions: spread evenly below 0.999, shift once, truncate."""
    levels = [Fraction(999, 1000) * (num_steps - step) / num_steps for step in range(num_steps)]
    return [floor(1000 * shift * u / (1 + (shift - 1) * u)) for u in levels]


def test_three_steps_at_shift_5_are_the_published_students() -> None:
    assert sampler_levels(3, 5.0).timesteps == (999, 908, 713)


def test_fifty_steps_at_shift_5_are_the_base_models() -> None:
    assert list(sampler_levels(50, 5.0).timesteps) == FIFTY == exact_timesteps(50, 5)


@pytest.mark.parametrize("shift", [1, 2, 3, 5, 8])
def test_any_number_of_steps_follows_from_exact_fractions(shift: int) -> None:
    for num_steps in range(1, 101):
        made = sampler_levels(num_steps, float(shift)).timesteps
        assert list(made) == exact_timesteps(num_steps, shift), num_steps


def test_the_sampler_begins_just_below_1_and_ends_at_0() -> None:
    sigmas = sampler_levels(3, 5.0).sigmas
    exact = [Fraction(999 * 5 * k, 3000 + 4 * 999 * k) for k in (3, 2, 1)]
    assert sigmas == pytest.approx([*map(float, exact), 0.0], abs=1e-7)
    assert sigmas[-1] == 0


def test_the_training_list_warps_to_1000_909_714() -> None:
    levels = warped_levels((1000, 667, 333), 5.0)
    exact = [1000 * Fraction(5 * k, 1000 + 4 * k) for k in (1000, 667, 333)]
    assert levels.timesteps == pytest.approx([float(value) for value in exact], rel=1e-12)
    assert [round(value) for value in levels.timesteps] == [1000, 909, 714]
    assert levels.sigmas == pytest.approx([*(float(value / 1000) for value in exact), 0.0])


def test_both_lists_ask_at_nearly_the_same_levels() -> None:
    sampled, trained = sampler_levels(3, 5.0), warped_levels()
    assert sampled.timesteps == pytest.approx(trained.timesteps, abs=1.3)


def test_a_shift_keeps_the_ends_and_raises_the_middle() -> None:
    assert [shift_level(sigma, 5.0) for sigma in (0.0, 0.5, 1.0)] == pytest.approx([0, 5 / 6, 1])


@pytest.mark.parametrize("num_steps", [0, -2])
def test_no_steps_are_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_inference_steps={num_steps}: expected at least 1"):
        sampler_levels(num_steps)


@pytest.mark.parametrize("ids", [(), (1001, 5), (5, 5), (3, 7), (10, 0)])
def test_ids_that_do_not_fall_are_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected falling timesteps in \(0, 1000\]"):
        warped_levels(ids)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan")])
def test_a_shift_that_is_not_positive_is_refused(shift: float) -> None:
    for make in (lambda: sampler_levels(3, shift), lambda: warped_levels((1000,), shift)):
        with pytest.raises(ValueError, match=r"timestep_shift=.*: expected a positive number"):
            make()
