"""The same halves of the walks are drawn for every arm."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.experiments.cells import CellArrays
from worldloom.experiments.novelty import drawn_interval, frechet_draws

CONFIG = FrechetConfig(channels=(2,), sizes=(0.5, 1.0), num_subsets=2)
BOOTSTRAP = BootstrapConfig()
FILM = np.zeros((1, 4, 4, 3), np.uint8)


def arrays(offset, count=8):
    made = [np.random.default_rng(i).normal(offset, 1, (count, 4)) for i in range(8)]
    real = [np.random.default_rng(100 + i).normal(0, 1, (count, 4)) for i in range(8)]
    return CellArrays(made, real, FILM)


def test_arms_are_drawn_alike():
    draws = [frechet_draws([arrays(offset)], BOOTSTRAP, CONFIG) for offset in (2.0, 2.0, 4.0)]
    assert (draws[0] == draws[1]).all()
    assert draws[2][0] > 2 * draws[0][0]
    assert np.corrcoef(draws[0][1:], draws[2][1:])[0, 1] > 0.5


def test_too_few_patches_have_no_draws():
    assert frechet_draws([arrays(0.0, count=1)], BOOTSTRAP, CONFIG) is None


def test_the_spread_of_halves_lies_around_the_whole():
    found = drawn_interval(np.array([10.0, 0.0, 1.0, 2.0]), (3, 8), BOOTSTRAP)
    assert found.mean == 10.0
    assert (found.low, found.high) == (pytest.approx(9.05), pytest.approx(10.95))
    assert (found.num_seeds, found.num_worlds) == (3, 8)
