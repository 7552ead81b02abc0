"""What an experiment came to: figures with intervals, paired differences, and where they come from.

Values are laid out as training seeds by worlds and resampled in both (`evaluate.paired`). Frechet's
distance has no value of a single walk: patches of all walks and seeds are pooled, and its interval
comes from halves of the walks, drawn without replacement, whose spread is that of the whole. (Drawn
with replacement a walk's patches would come twice, which the distance takes for a smaller sample.)
A figure that no walk has is left out. It does not know how cells were computed or a page looks.

Letters: S training seeds, W walks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import Field

from worldloom.arrays import FloatArray
from worldloom.bench.record import Machine
from worldloom.config import Config, load_config, resolved
from worldloom.evaluate.frechet import FrechetConfig, frechet_distance
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.paired import SeededInterval, difference_interval, mean_interval
from worldloom.experiments.arms import Experiment
from worldloom.experiments.cells import Cell, CellArrays
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.training_record import TrainingRecord

FRECHET = "frechet_novel"
BOOK_FILE = "ablation.json"
_FRECHET_HALVES = 100

Place = tuple[str, str]
"""A world's name and a kind of way."""


class Row(Config):
    """One figure of one arm on one kind of walk."""

    world: str = Field(description="where")
    path: str = Field(description="kind of way")
    figure: str = Field(description="the figure's name")
    unit: str = Field(description="its unit; empty for a share or a distance without one")
    arm: str = Field(description="the arm")
    value: SeededInterval = Field(description="mean with its interval")
    difference: SeededInterval | None = Field(
        None, description="minus the control, paired; None for the control"
    )


class Speed(Config):
    """What one arm weighs and takes."""

    world: str = Field(description="where")
    path: str = Field(description="kind of way")
    arm: str = Field(description="the arm")
    segment_seconds: float | None = Field(
        None, description="median seconds a segment of one walk, decoding left out"
    )
    weight_ratio: float = Field(gt=0, description="bytes of the transformer over 32-bit floats")


class Curve(Config):
    """How one arm's PSNR moves along a walk."""

    world: str = Field(description="where")
    path: str = Field(description="kind of way")
    arm: str = Field(description="the arm")
    segment_psnr_db: tuple[float, ...] = Field(description="mean over walks and seeds, decibels")


class Book(Config):
    """Everything that an experiment says."""

    experiment: Experiment = Field(description="the question and its arms")
    command: str = Field(description="what runs it again")
    machine: Machine = Field(description="where it ran")
    left_out: tuple[str, ...] = Field(description="arms for which no weights were given")
    training: TrainingRecord | None = Field(
        None, description="how arms of the experiment's own were trained"
    )
    rows: tuple[Row, ...] = Field(description="figures")
    speeds: tuple[Speed, ...] = Field(description="times and sizes")
    curves: tuple[Curve, ...] = Field(description="along the walks")

    def rows_of(self, place: Place) -> list[Row]:
        """Return the rows of one kind of walk."""
        return [row for row in self.rows if (row.world, row.path) == place]

    @property
    def places(self) -> list[Place]:
        """Kinds of walk, in order."""
        return list(dict.fromkeys((row.world, row.path) for row in self.rows))


def make_book(
    experiment: Experiment,
    cells: Sequence[Cell],
    arrays: Mapping[str, CellArrays],
    *,
    command: str,
    machine: Machine,
    left_out: Sequence[str],
    bootstrap: BootstrapConfig,
    frechet: FrechetConfig,
) -> Book:
    """Return what finished cells say together.

    Args:
        experiment: the question.
        cells: every cell.
        arrays: what lies beside each, by its key.
        command: what runs it again.
        machine: where it ran.
        left_out: arms without weights.
        bootstrap: how intervals are drawn.
        frechet: the net of novel patches.
    """
    rows: list[Row] = []
    speeds: list[Speed] = []
    curves: list[Curve] = []
    for place in dict.fromkeys((cell.world, cell.path) for cell in cells):
        by_arm = {
            arm.name: [c for c in cells if (c.world, c.path) == place and c.arm == arm.name]
            for arm in experiment.arms
        }
        by_arm = {name: sorted(own, key=_seed_index) for name, own in by_arm.items() if own}
        rows += _figure_rows(experiment, place, by_arm, bootstrap)
        rows += _frechet_rows(experiment, place, by_arm, arrays, bootstrap, frechet)
        speeds += [_speed(place, name, own) for name, own in by_arm.items()]
        curves += [_curve(place, name, own) for name, own in by_arm.items()]
    return Book(
        experiment=experiment,
        command=command,
        machine=machine,
        left_out=tuple(left_out),
        rows=tuple(rows),
        speeds=tuple(speeds),
        curves=tuple(curves),
    )


def write_book(folder: Path, book: Book) -> Path:
    """Write a book as JSON and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / BOOK_FILE
    path.write_text(json.dumps(resolved(book), indent=1) + "\n", encoding="utf-8")
    return path


def read_book(path: Path) -> Book:
    """Read a book; raises `ConfigError` for a file that is none."""
    return load_config(Book, path.read_text(encoding="utf-8"), where=path.name)


def _seed_index(cell: Cell) -> int:
    return cell.seed_index


def _figure_rows(
    experiment: Experiment,
    place: Place,
    by_arm: Mapping[str, Sequence[Cell]],
    bootstrap: BootstrapConfig,
) -> list[Row]:
    rows = []
    control = by_arm.get(experiment.control)
    for figure, (unit, _) in FIGURES.items():
        for name, own in by_arm.items():
            value = mean_interval(_table(own, figure), bootstrap)
            if value is None:
                continue
            difference = None
            if control is not None and name != experiment.control:
                tables = _table(own, figure), _table(control, figure)
                difference = difference_interval(*tables, bootstrap)
            rows.append(
                Row(
                    world=place[0],
                    path=place[1],
                    figure=figure,
                    unit=unit,
                    arm=name,
                    value=value,
                    difference=difference,
                )
            )
    return rows


def _table(cells: Sequence[Cell], figure: str) -> Float[FloatArray, "S W"]:
    values = [[walk.values.get(figure) for walk in cell.walks] for cell in cells]
    return np.array(values, dtype=np.float64)  # None becomes not a number


def _frechet_rows(
    experiment: Experiment,
    place: Place,
    by_arm: Mapping[str, Sequence[Cell]],
    arrays: Mapping[str, CellArrays],
    bootstrap: BootstrapConfig,
    config: FrechetConfig,
) -> list[Row]:
    """Return Frechet's distances of novel patches, the same halves for every arm."""
    draws = {
        name: _frechet_draws([arrays[cell.key] for cell in own], bootstrap, config)
        for name, own in by_arm.items()
    }
    rows = []
    control = draws.get(experiment.control)
    for name, own in draws.items():
        if own is None:
            continue
        counts = (len(by_arm[name]), len(by_arm[name][0].walks))
        difference = None
        if control is not None and name != experiment.control:
            difference = _interval(own - control, counts, bootstrap)
        rows.append(
            Row(
                world=place[0],
                path=place[1],
                figure=FRECHET,
                unit="",
                arm=name,
                value=_interval(own, counts, bootstrap),
                difference=difference,
            )
        )
    return rows


def _frechet_draws(
    cells: Sequence[CellArrays], bootstrap: BootstrapConfig, config: FrechetConfig
) -> FloatArray | None:
    """Return the distance over all walks, then over halves of them.

    None where a half holds too few patches.
    """
    num_walks = len(cells[0].features)
    generator = np.random.default_rng(bootstrap.seed)
    chosen = [np.arange(num_walks)]
    chosen += [generator.permutation(num_walks)[: num_walks // 2] for _ in range(_FRECHET_HALVES)]
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


def _interval(
    draws: FloatArray, counts: tuple[int, int], bootstrap: BootstrapConfig
) -> SeededInterval:
    """Return the first value with the halves' spread around it."""
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


def _speed(place: Place, name: str, cells: Sequence[Cell]) -> Speed:
    timed = [cell.one_walk.p50_seconds for cell in cells if cell.one_walk is not None]
    return Speed(
        world=place[0],
        path=place[1],
        arm=name,
        segment_seconds=float(np.median(timed)) if timed else None,
        weight_ratio=cells[0].weight_ratio,
    )


def _curve(place: Place, name: str, cells: Sequence[Cell]) -> Curve:
    values = np.array([walk.segment_psnr_db for cell in cells for walk in cell.walks])
    return Curve(
        world=place[0],
        path=place[1],
        arm=name,
        segment_psnr_db=tuple(values.mean(axis=0).tolist()),
    )
