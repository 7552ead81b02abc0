"""What an experiment came to: figures with intervals, paired differences, and where they come from.

Values are laid out as training seeds by worlds and resampled in both (`evaluate.paired`);
Frechet's distance, which no single walk has, is drawn otherwise (`novelty`). A figure that no walk
has is left out. It does not know how cells were computed or a page looks.

Letters: S training seeds, W walks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from worldloom.bench.record import Machine
from worldloom.config import Config, load_config, resolved
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.paired import SeededInterval, difference_interval, mean_interval
from worldloom.experiments.answers import ByArm, Draws, answers_of, cost_of
from worldloom.experiments.arms import Experiment
from worldloom.experiments.cells import (
    Cell,
    CellArrays,
    Place,
    Placed,
    figure_table,
    of_common_seeds,
)
from worldloom.experiments.claims import DENOISE_SECONDS, SEGMENT_SECONDS, STORED_RATIO, Answer
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.novelty import FRECHET, drawn_interval, frechet_draws
from worldloom.experiments.training_record import TrainingRecord

BOOK_FILE = "ablation.json"


class Row(Placed):
    """One figure of one arm on one kind of walk."""

    figure: str = Field(description="the figure's name")
    unit: str = Field(description="its unit; empty for a share or a distance without one")
    arm: str = Field(description="the arm")
    value: SeededInterval = Field(description="mean with its interval")
    difference: SeededInterval | None = Field(
        None, description="minus the control, paired; None for the control"
    )


class Speed(Placed):
    """What one arm weighs and takes."""

    arm: str = Field(description="the arm")
    num_steps: int | None = Field(None, description="denoising steps of a segment")
    segment_seconds: float | None = Field(
        None, description="median seconds a segment of one walk, decoding left out"
    )
    denoise_seconds: float | None = Field(
        None, description="the same of its denoising alone, committing left out too"
    )
    weight_ratio: float = Field(gt=0, description="bytes of the transformer over 32-bit floats")
    stored_ratio: float | None = Field(
        None, description="the same as a release stores it, over 32-bit floats"
    )


class Curve(Placed):
    """How one arm's PSNR moves along a walk."""

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
    starters: tuple[dict[str, str], ...] = Field(
        (), description="digest of each starter's parts by name, a starter a training seed"
    )
    answers: tuple[Answer, ...] = Field((), description="what came of the claims, by world")
    rows: tuple[Row, ...] = Field(description="figures")
    speeds: tuple[Speed, ...] = Field(description="times and sizes")
    curves: tuple[Curve, ...] = Field(description="along the walks")

    def rows_of(self, place: Place) -> list[Row]:
        """Return the rows of one kind of walk."""
        return [row for row in self.rows if row.place == place]

    @property
    def places(self) -> list[Place]:
        """Kinds of walk, in order."""
        return list(dict.fromkeys(row.place for row in self.rows))


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
    answers: list[Answer] = []
    speeds: list[Speed] = []
    curves: list[Curve] = []
    for place in dict.fromkeys(cell.place for cell in cells):
        by_arm = {
            arm.name: [c for c in cells if c.place == place and c.arm == arm.name]
            for arm in experiment.arms
        }
        by_arm = {name: sorted(own, key=_seed_index) for name, own in by_arm.items() if own}
        rows += _figure_rows(experiment, place, by_arm, bootstrap)
        draws = {
            name: frechet_draws([arrays[cell.key] for cell in own], bootstrap, frechet)
            for name, own in by_arm.items()
        }
        rows += _frechet_rows(experiment, place, by_arm, draws, bootstrap)
        claims = [claim for claim in experiment.claims if claim.path == place[1]]
        answers += answers_of(
            claims, place[0], by_arm, draws, bootstrap, control=experiment.control
        )
        speeds += [_speed(place, name, own) for name, own in by_arm.items()]
        curves += [_curve(place, name, own) for name, own in by_arm.items()]
    return Book(
        experiment=experiment,
        command=command,
        machine=machine,
        left_out=tuple(left_out),
        answers=tuple(answers),
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
            value = mean_interval(figure_table(own, figure), bootstrap)
            if value is None:
                continue
            difference = None
            if control is not None and name != experiment.control:
                tables = [figure_table(each, figure) for each in of_common_seeds(own, control)]
                difference = difference_interval(tables[0], tables[1], bootstrap)
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


def _frechet_rows(
    experiment: Experiment, place: Place, by_arm: ByArm, draws: Draws, bootstrap: BootstrapConfig
) -> list[Row]:
    rows = []
    control = draws.get(experiment.control)
    for name, own in draws.items():
        if own is None:
            continue
        counts = (len(by_arm[name]), len(by_arm[name][0].walks))
        difference = None
        if control is not None and name != experiment.control:
            difference = drawn_interval(own - control, counts, bootstrap)
        rows.append(
            Row(
                world=place[0],
                path=place[1],
                figure=FRECHET,
                unit="",
                arm=name,
                value=drawn_interval(own, counts, bootstrap),
                difference=difference,
            )
        )
    return rows


def _speed(place: Place, name: str, cells: Sequence[Cell]) -> Speed:
    return Speed(
        world=place[0],
        path=place[1],
        arm=name,
        num_steps=cells[0].num_steps,
        segment_seconds=cost_of(cells, SEGMENT_SECONDS),
        denoise_seconds=cost_of(cells, DENOISE_SECONDS),
        weight_ratio=cells[0].weight_ratio,
        stored_ratio=cost_of(cells, STORED_RATIO),
    )


def _curve(place: Place, name: str, cells: Sequence[Cell]) -> Curve:
    values = np.array([walk.segment_psnr_db for cell in cells for walk in cell.walks])
    return Curve(
        world=place[0],
        path=place[1],
        arm=name,
        segment_psnr_db=tuple(values.mean(axis=0).tolist()),
    )
