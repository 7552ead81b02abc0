"""Frechet's distance of novel patches between what was made and what was recorded, with its spread.

It has no value of a single walk: patches of all walks and seeds are pooled, and its interval comes
from halves of the walks, drawn without replacement, whose spread is that of the whole. (Drawn with
replacement a walk's patches would come twice, which the distance takes for a smaller sample.) The
same halves are drawn for every arm, so that draws of two arms may be subtracted or divided. It does
not know arms or tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldloom.arrays import FloatArray
from worldloom.evaluate.frechet import FrechetConfig, frechet_distance
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.paired import SeededInterval
from worldloom.experiments.cells import CellArrays

FRECHET = "frechet_novel"
_HALVES = 100


def frechet_draws(
    cells: Sequence[CellArrays], bootstrap: BootstrapConfig, config: FrechetConfig
) -> FloatArray | None:
    """Return the distance over all walks, then over halves of them.

    None where a half holds too few patches.
    """
    num_walks = len(cells[0].features)
    generator = np.random.default_rng(bootstrap.seed)
    chosen = [np.arange(num_walks)]
    chosen += [generator.permutation(num_walks)[: num_walks // 2] for _ in range(_HALVES)]
    found = []
    for walks in chosen:
        made, real = (
            np.concatenate([np.zeros((0, config.num_features)), *parts])
            for parts in (
                [cell.features[walk] for cell in cells for walk in walks],
                [cell.real_features[walk] for cell in cells for walk in walks],
            )
        )
        if min(len(made), len(real)) < config.least_patches:
            return None
        found.append(frechet_distance(made, real, config))
    return np.array(found)


def drawn_interval(
    draws: FloatArray, counts: tuple[int, int], bootstrap: BootstrapConfig
) -> SeededInterval:
    """Return the first of some draws with the spread of the others around it.

    Args:
        draws: of the whole, then of its halves; or what was made of two arms' draws.
        counts: training seeds and walks behind it.
        bootstrap: how much of the spread an interval holds.
    """
    tail = (1 - bootstrap.confidence) / 2
    spread = draws[1:] - draws[1:].mean()
    low, high = draws[0] + np.quantile(spread, (tail, 1 - tail))
    return SeededInterval(
        mean=float(draws[0]),
        low=float(low),
        high=float(high),
        num_seeds=counts[0],
        num_worlds=counts[1],
    )
