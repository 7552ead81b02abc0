"""Seeds and worlds are drawn, and arms are paired."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.paired import difference_interval, mean_interval, ratio_interval

CONFIG = BootstrapConfig()


def worlds(count=100, seed=0, spread=5.0):
    return np.random.default_rng(seed).normal(20, spread, (1, count))


def test_one_seeds_interval_is_that_of_the_mean():
    values = worlds()
    found = mean_interval(values, CONFIG)
    half = 1.96 * values.std() / 10
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert (found.num_seeds, found.num_worlds) == (1, 100)


def test_a_paired_difference_is_surer_than_its_sides():
    control = worlds()
    better = control + np.random.default_rng(1).normal(0.5, 0.2, control.shape)
    found = difference_interval(better, control, CONFIG)
    sides = mean_interval(better, CONFIG), mean_interval(control, CONFIG)
    assert found.low > 0.4
    assert found.high < 0.6
    assert sides[0].low < sides[1].high


def test_seeds_that_disagree_widen_the_interval():
    agreeing = np.repeat(worlds(), 3, axis=0)
    disagreeing = agreeing + np.array([[-2.0], [0.0], [2.0]])
    widths = []
    for values in (agreeing, disagreeing):
        found = mean_interval(values, CONFIG)
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def test_one_control_stands_beside_several_seeds():
    control = worlds()
    trained = control + np.array([[1.0], [2.0], [3.0]])
    found = difference_interval(trained, control, CONFIG)
    assert found.mean == pytest.approx(2.0)
    assert found.num_seeds == 3


def test_a_world_without_a_value_leaves_the_pair():
    values, control = worlds(4), worlds(4, seed=1)
    values[0, 1] = np.nan
    control[0, 2] = np.nan
    found = difference_interval(values, control, CONFIG)
    assert found.num_worlds == 2
    assert found.mean == pytest.approx((values - control)[0, [0, 3]].mean())
    assert mean_interval(np.full((1, 3), np.nan), CONFIG) is None


def test_unpaired_tables_are_refused():
    with pytest.raises(ValueError, match="expected as many worlds"):
        difference_interval(worlds(3), worlds(4), CONFIG)
    with pytest.raises(ValueError, match="as many seeds or one"):
        difference_interval(np.ones((2, 3)), np.ones((3, 3)), CONFIG)


def test_a_ratio_is_of_means_and_drawn_in_pairs():
    control = worlds()
    found = ratio_interval(2 * control, control, CONFIG)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2, 2))
    assert ratio_interval(control, worlds(seed=1), CONFIG).high > 1.03
    seeds = control * np.array([[1.0], [2.0], [3.0]])
    assert ratio_interval(seeds, control, CONFIG).num_seeds == 3


def test_nothing_is_divided_by_what_may_be_zero():
    control = worlds() - 20
    assert ratio_interval(worlds(), control, CONFIG) is None
    nowhere = np.full((1, 4), np.nan)
    assert ratio_interval(nowhere, nowhere, CONFIG) is None


def test_a_ratio_is_of_the_worlds_that_both_have():
    values, control = 3 * worlds(4), worlds(4)
    values[0, 1] = np.nan
    control[0, 2] = np.nan
    found = ratio_interval(values, control, CONFIG)
    assert (found.mean, found.num_worlds) == (pytest.approx(3), 2)
