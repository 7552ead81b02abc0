from __future__ import annotations

from itertools import pairwise

import pytest

from services.load.arrivals import poisson_arrivals


def test_arrivals_are_a_seeds_and_come_in_order() -> None:
    arrivals = list(poisson_arrivals(50, 10.0, seed=3))
    assert arrivals == list(poisson_arrivals(50, 10.0, seed=3))
    assert arrivals != list(poisson_arrivals(50, 10.0, seed=4))
    assert arrivals == sorted(arrivals)


def test_gaps_are_exponential_and_of_the_rate_asked_for() -> None:
    arrivals = list(poisson_arrivals(20_000, 2000.0, seed=0))
    gaps = [later - sooner for sooner, later in pairwise(arrivals)]
    assert arrivals[-1] == pytest.approx(2000, rel=0.03)
    longer = sum(gap > 0.1 for gap in gaps) / len(gaps)
    assert longer == pytest.approx(0.3679, abs=0.02)


def test_all_at_once_is_all_at_once() -> None:
    assert list(poisson_arrivals(3, 0.0, seed=0)) == [0.0, 0.0, 0.0]
