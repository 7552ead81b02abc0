"""Means and slopes over segments."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.drift import drift_slope, loss_between, segment_means


def test_means_are_taken_segment_by_segment():
    assert segment_means(np.array([1.0, 3.0, 5.0, 7.0]), 2) == [2.0, 6.0]


def test_slope_of_a_line_is_its_slope():
    assert drift_slope([20.0, 19.5, 19.0, 18.5]) == pytest.approx(-0.5)


def test_slope_is_least_squares():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    assert drift_slope(values) == pytest.approx(np.polyfit(range(5), values, 1)[0])


def test_one_segment_has_no_slope():
    assert drift_slope([20.0]) is None


def test_a_torn_segment_is_refused():
    with pytest.raises(ValueError, match="multiple of frames_per_segment=4"):
        segment_means(np.zeros(6), 4)


def test_the_loss_between_two_segments_is_counted_from_one():
    assert loss_between([20.0, 19.0, 18.5], 2, 3) == pytest.approx(0.5)
    assert loss_between([20.0, 19.0], 2, 12) is None
    with pytest.raises(ValueError, match="expected 1 <= first < last"):
        loss_between([20.0, 19.0], 2, 2)
