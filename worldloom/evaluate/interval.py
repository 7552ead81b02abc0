"""Bootstrap intervals: a mean or a ratio over clips, with its 95 % interval.

A figure over clips is `sum(numerators) / sum(denominators)`; a plain mean has denominators of one.
Clips are drawn with replacement, so that frames of one clip are never taken for independent ones.
It does not know what the figures mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from worldloom.arrays import FloatArray, IntArray
from worldloom.config import Config


class BootstrapConfig(Config):
    """How intervals are drawn."""

    num_resamples: int = Field(2000, ge=100, description="bootstrap resamples of the clips")
    confidence: float = Field(0.95, gt=0, lt=1, description="probability mass of the interval")
    seed: int = Field(20, ge=0, description="seed of the resampling generator")


class Interval(Config):
    """A figure over clips with its bootstrap interval."""

    mean: float = Field(description="the figure over all clips, in its own unit")
    low: float = Field(description="lower end of the interval, same unit")
    high: float = Field(description="upper end of the interval, same unit")
    num_clips: int = Field(ge=1, description="clips that had a value")


class Fraction(Config):
    """One clip's share of a figure: what it adds above and below the line."""

    numerator: float = Field(description="what the clip adds to the sum, in the figure's unit")
    denominator: float = Field(gt=0, description="how much the clip weighs (1 for a mean)")


def bootstrap(fractions: Sequence[Fraction], config: BootstrapConfig) -> Interval | None:
    """Return the figure over clips with its interval, or None when no clip has a value."""
    if not fractions:
        return None
    above, below = _columns(fractions)
    chosen = _resamples(len(fractions), config)
    draws = above[chosen].sum(axis=1) / below[chosen].sum(axis=1)
    return _interval(float(above.sum() / below.sum()), draws, len(fractions), config)


def bootstrap_difference(
    candidate: Sequence[Fraction], champion: Sequence[Fraction], config: BootstrapConfig
) -> Interval | None:
    """Return candidate minus champion over the same clips, resampled as pairs."""
    if len(candidate) != len(champion):
        message = f"{len(candidate)} and {len(champion)} values: expected pairs over the same clips"
        raise ValueError(message)
    if not candidate:
        return None
    above, below = _columns(candidate)
    other_above, other_below = _columns(champion)
    chosen = _resamples(len(candidate), config)
    draws = above[chosen].sum(axis=1) / below[chosen].sum(axis=1)
    draws -= other_above[chosen].sum(axis=1) / other_below[chosen].sum(axis=1)
    mean = above.sum() / below.sum() - other_above.sum() / other_below.sum()
    return _interval(float(mean), draws, len(candidate), config)


def _columns(fractions: Sequence[Fraction]) -> tuple[FloatArray, FloatArray]:
    above = np.array([fraction.numerator for fraction in fractions])
    below = np.array([fraction.denominator for fraction in fractions])
    return above, below


def _resamples(count: int, config: BootstrapConfig) -> IntArray:
    generator = np.random.default_rng(config.seed)
    return generator.integers(0, count, size=(config.num_resamples, count))


def _interval(mean: float, draws: FloatArray, count: int, config: BootstrapConfig) -> Interval:
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(mean=mean, low=float(low), high=float(high), num_clips=count)
