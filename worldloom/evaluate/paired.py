"""Intervals over training seeds and worlds: means, paired differences and ratios of arms.

A figure is a table [S, W]: one row a training seed, one column a world (a case). An interval is a
bootstrap in two levels: seeds are drawn with replacement, and so are worlds, the same worlds for
every seed that was drawn, because all walked the same ones. With one seed only worlds are drawn,
so its interval says nothing of how another training would have come out. A difference is drawn
with the same seeds and worlds on both sides, since arms share worlds, noise and, where there are
several, the order of training seeds. A case without a value (not a number) in one arm leaves the
pair. A ratio is of the two means. It does not know what the figures mean.

Letters: S training seeds, W worlds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from pydantic import Field

from worldloom.arrays import FloatArray
from worldloom.config import Config
from worldloom.evaluate.interval import BootstrapConfig

Table = Float[FloatArray, "S W"]


class SeededInterval(Config):
    """A mean over seeds and worlds, with its interval."""

    mean: float = Field(description="over all values, in the figure's unit")
    low: float = Field(description="lower end of the interval, same unit")
    high: float = Field(description="upper end of the interval, same unit")
    num_seeds: int = Field(ge=1, description="training seeds")
    num_worlds: int = Field(ge=1, description="worlds with a value")


def mean_interval(values: Table, config: BootstrapConfig) -> SeededInterval | None:
    """Return the mean with its interval, None when no world has a value under every seed."""
    kept = values[:, np.isfinite(values).all(axis=0)]
    if not kept.size:
        return None
    draws = _draws(kept, config)
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    seeds, worlds = kept.shape
    return SeededInterval(
        mean=float(kept.mean()),
        low=float(low),
        high=float(high),
        num_seeds=seeds,
        num_worlds=worlds,
    )


def difference_interval(
    values: Table, control: Table, config: BootstrapConfig
) -> SeededInterval | None:
    """Return values minus control over the same worlds, with its interval.

    An arm with one training seed beside several (a control that is not trained, say) is compared
    with each of them.

    Raises:
        ValueError: for tables of other worlds, or seed counts of which neither is one.
    """
    _require_pairs(values, control)
    return mean_interval(np.asarray(values - control), config)


def ratio_interval(values: Table, control: Table, config: BootstrapConfig) -> SeededInterval | None:
    """Return the mean of values over the control's on the same worlds, with its interval.

    None when no world has a value on both sides, or when the control's own interval holds zero:
    what is divided by may then be nothing.

    Raises:
        ValueError: for tables of other worlds, or seed counts of which neither is one.
    """
    _require_pairs(values, control)
    values, control = np.broadcast_arrays(values, control)
    both = np.isfinite(values).all(axis=0) & np.isfinite(control).all(axis=0)
    over, under = values[:, both], control[:, both]
    below = mean_interval(under, config)
    if below is None or below.low <= 0 <= below.high:
        return None
    draws = _draws(over, config) / _draws(under, config)
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return SeededInterval(
        mean=float(over.mean() / under.mean()),
        low=float(low),
        high=float(high),
        num_seeds=below.num_seeds,
        num_worlds=below.num_worlds,
    )


def _require_pairs(values: Table, control: Table) -> None:
    seeds = {len(values), len(control)}
    if values.shape[1] != control.shape[1] or (len(seeds) > 1 and 1 not in seeds):
        message = (
            f"{list(values.shape)} and {list(control.shape)} values: expected as many worlds, and"
            " as many seeds or one"
        )
        raise ValueError(message)


def _draws(values: Table, config: BootstrapConfig) -> Float[FloatArray, " R"]:
    generator = np.random.default_rng(config.seed)
    seeds, worlds = values.shape
    chosen_seeds = generator.integers(0, seeds, size=(config.num_resamples, seeds))
    chosen_worlds = generator.integers(0, worlds, size=(config.num_resamples, worlds))
    picked = values[chosen_seeds[:, :, None], chosen_worlds[:, None, :]]
    return np.asarray(picked.mean(axis=(1, 2)))
