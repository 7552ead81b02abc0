"""What finished cells say of an experiment's claims.

It knows where each figure of a claim comes from: walks, pooled patches, or what an arm costs. It
does not know pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from worldloom.arrays import FloatArray
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.paired import (
    SeededInterval,
    difference_interval,
    mean_interval,
    ratio_interval,
)
from worldloom.experiments.cells import Cell, figure_table, of_common_seeds
from worldloom.experiments.claims import (
    COSTS,
    DENOISE_SECONDS,
    STORED_RATIO,
    Answer,
    Claim,
    Found,
    answer,
)
from worldloom.experiments.novelty import FRECHET, drawn_interval

ByArm = Mapping[str, Sequence[Cell]]
Draws = Mapping[str, FloatArray | None]


def answers_of(
    claims: Sequence[Claim],
    world: str,
    by_arm: ByArm,
    frechet: Draws,
    bootstrap: BootstrapConfig,
    *,
    control: str,
) -> list[Answer]:
    """Return the answers of one kind of walk in one world to claims about it.

    A claim about an arm that was not run, or a figure that it has not, has no answer here.

    Args:
        claims: those of this kind of walk.
        world: where it was walked.
        by_arm: finished cells, seed by seed.
        frechet: each arm's draws of Frechet's distance.
        bootstrap: how intervals are drawn.
        control: the arm that others were timed in turns with.
    """
    found = []
    for claim in claims:
        arms = [claim.arm] if claim.against is None else [claim.arm, claim.against]
        if all(arm in by_arm and _has(by_arm[arm], frechet[arm], claim.figure) for arm in arms):
            value = _found(claim, arms, by_arm, frechet, bootstrap, control)
            found.append(answer(claim, world, value))
    return found


def cost_of(cells: Sequence[Cell], figure: str) -> float | None:
    """Return the median over seeds of what an arm costs; None where it was not measured."""
    if figure == STORED_RATIO:
        return _median(cell.stored_ratio for cell in cells)
    if figure == DENOISE_SECONDS:
        return _median(cell.denoise_seconds for cell in cells)
    return _median(cell.one_walk.p50_seconds if cell.one_walk else None for cell in cells)


def cost_of_control(cells: Sequence[Cell], figure: str) -> float | None:
    """Return what the control took in turns with these cells; None where it was not timed so."""
    if figure == STORED_RATIO:
        return None
    times = [cell.control for cell in cells if cell.control is not None]
    if figure == DENOISE_SECONDS:
        return _median(each.denoise_seconds for each in times)
    return _median(each.segment.p50_seconds for each in times)


def _median(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return float(np.median(known)) if known else None


def _has(cells: Sequence[Cell], draws: FloatArray | None, figure: str) -> bool:
    if figure == FRECHET:
        return draws is not None
    if figure in COSTS:
        return cost_of(cells, figure) is not None
    return bool(np.isfinite(figure_table(cells, figure)).all(axis=0).any())


def _found(
    claim: Claim,
    arms: Sequence[str],
    by_arm: ByArm,
    frechet: Draws,
    bootstrap: BootstrapConfig,
    control: str,
) -> Found | None:
    cells = [by_arm[arm] for arm in arms]
    if len(cells) == 2:
        cells = list(of_common_seeds(cells[0], cells[1]))
    if claim.figure in COSTS:
        return Found(mean=_compared(claim, _costs(claim.figure, arms, cells, control)))
    interval = (
        _of_patches(claim, arms, by_arm, frechet, bootstrap)
        if claim.figure == FRECHET
        else _of_walks(claim, [figure_table(own, claim.figure) for own in cells], bootstrap)
    )
    if interval is None:
        return None
    return Found(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        num_walks=interval.num_worlds,
        num_seeds=interval.num_seeds,
    )


def _costs(
    figure: str, arms: Sequence[str], cells: Sequence[Sequence[Cell]], control: str
) -> list[float]:
    """Return what one arm costs, or two: the control as it was timed in turns with the other."""
    costs = [cost_of(own, figure) for own in cells]
    if len(arms) == 2 and control in arms:
        index = arms.index(control)
        beside = cost_of_control(cells[1 - index], figure)
        costs[index] = costs[index] if beside is None else beside
    return [cost for cost in costs if cost is not None]


def _compared(claim: Claim, values: Sequence[float]) -> float:
    if claim.comparison == "value":
        return values[0]
    return values[0] - values[1] if claim.comparison == "difference" else values[0] / values[1]


def _of_walks(
    claim: Claim, tables: Sequence[FloatArray], bootstrap: BootstrapConfig
) -> SeededInterval | None:
    if claim.comparison == "value":
        return mean_interval(tables[0], bootstrap)
    if claim.comparison == "difference":
        return difference_interval(tables[0], tables[1], bootstrap)
    other = mean_interval(tables[1], bootstrap)
    if claim.is_of_loss and other is not None and other.mean >= 0:
        return None
    return ratio_interval(tables[0], tables[1], bootstrap)


def _of_patches(
    claim: Claim, arms: Sequence[str], by_arm: ByArm, frechet: Draws, bootstrap: BootstrapConfig
) -> SeededInterval:
    draws = [own for arm in arms if (own := frechet[arm]) is not None]
    made = draws[0]
    if claim.comparison == "difference":
        made = draws[0] - draws[1]
    elif claim.comparison == "ratio":
        made = draws[0] / draws[1]
    cells = by_arm[claim.arm]
    return drawn_interval(made, (len(cells), len(cells[0].walks)), bootstrap)
