"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.interval import (
    BootstrapConfig,
    Fraction,
    bootstrap,
    bootstrap_difference,
)

CONFIG = BootstrapConfig()


def means(values):
    return [Fraction(numerator=float(value), denominator=1) for value in values]


def test_interval_of_a_mean_is_close_to_the_normal_one():
    values = np.random.default_rng(0).normal(10, 2, 200)
    interval = bootstrap(means(values), CONFIG)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean == pytest.approx(half, rel=0.15)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.15)


def test_ratio_weighs_clips_by_their_denominator():
    clips = [Fraction(numerator=9, denominator=9), Fraction(numerator=0, denominator=1)]
    assert bootstrap(clips, CONFIG).mean == pytest.approx(0.9)


def test_paired_difference_forgets_what_both_share():
    generator = np.random.default_rng(1)
    champion = generator.normal(20, 5, 12)
    candidate = champion + generator.normal(0.5, 0.05, 12)
    paired = bootstrap_difference(means(candidate), means(champion), CONFIG)
    assert paired.low > 0.4
    assert bootstrap(means(candidate), CONFIG).low < bootstrap(means(champion), CONFIG).high


def test_same_seed_same_interval_and_nothing_from_nothing():
    assert bootstrap(means([1, 2, 5]), CONFIG) == bootstrap(means([1, 2, 5]), CONFIG)
    assert bootstrap([], CONFIG) is None
    assert bootstrap_difference([], [], CONFIG) is None


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="expected pairs"):
        bootstrap_difference(means([1]), means([1, 2]), CONFIG)
