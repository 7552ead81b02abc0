"""What a folder of cells is the answer to: written beside them, so that a page needs nothing else.

    <folder>/run.json   `RunRecord`

Cells may have been walked on another machine, with weights that are not here. It does not know how
cells are computed, nor what a page looks like.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from worldloom.bench.record import Machine
from worldloom.config import Config, load_config
from worldloom.errors import ArtifactError
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.protocol import CasesConfig
from worldloom.experiments.arms import Experiment
from worldloom.experiments.cells import Cell, Place, read_cell
from worldloom.experiments.training_record import TrainingRecord
from worldloom.train.checkpoint import write_atomically

RUN_FILE = "run.json"


class RunRecord(Config):
    """What was run, where, and which cells came of it so far."""

    experiment: Experiment = Field(description="the question and its arms")
    command: str = Field(description="what runs it again")
    machine: Machine = Field(description="where it ran")
    training: TrainingRecord | None = Field(
        None, description="how arms of the experiment's own were trained"
    )
    starters: tuple[dict[str, str], ...] = Field(
        (), description="digest of each starter's parts by name, a starter a training seed"
    )
    cases: tuple[CasesConfig, ...] = Field(description="walks of each finished place, in order")
    left_out: tuple[str, ...] = Field(description="arms for which no weights were given")
    frechet: FrechetConfig = Field(description="the net of novel patches")
    cells: dict[str, str] = Field(
        description="key of every finished cell, by the stem of its files"
    )


def write_run(folder: Path, record: RunRecord) -> None:
    """Write what the folder's cells are the answer to."""
    write_atomically(folder / RUN_FILE, (record.model_dump_json(indent=1) + "\n").encode())


def with_other_places(record: RunRecord, folder: Path, walked: set[Place]) -> RunRecord:
    """Return a record with the cells of places that an earlier run walked into the same folder.

    Args:
        record: of the run that begins.
        folder: of cells.
        walked: the worlds and kinds of way that it walks itself.
    """
    if not (folder / RUN_FILE).is_file():
        return record
    earlier = read_run(folder)
    cases = tuple(case for case in earlier.cases if case.place not in walked)
    prefixes = tuple(f"{case.world}-{case.path}-" for case in cases)
    cells = {stem: key for stem, key in earlier.cells.items() if stem.startswith(prefixes)}
    return record.model_copy(update={"cases": cases, "cells": cells})


def joined(earlier: RunRecord, later: RunRecord) -> RunRecord:
    """Return the record of two runs of one experiment; where both have a cell, the later's counts.

    Raises:
        ArtifactError: for another experiment, or a kind of walk that the two walked differently.
    """
    if earlier.experiment.name != later.experiment.name:
        message = f"a run of {later.experiment.name}: expected one of {earlier.experiment.name}"
        raise ArtifactError(message)
    by_place = {case.place: case for case in earlier.cases}
    for case in later.cases:
        known = by_place.setdefault(case.place, case)
        if known != case:
            message = (
                f"{case.world} {case.path}: {case.num_cases} walks of {case.num_frames} frames, "
                f"expected {known.num_cases} of {known.num_frames} by the same settings, as there"
            )
            raise ArtifactError(message)
    return later.model_copy(
        update={
            "cases": tuple(by_place.values()),
            "cells": earlier.cells | later.cells,
            "training": later.training or earlier.training,
            "left_out": tuple(arm for arm in later.left_out if arm in earlier.left_out),
        }
    )


def read_run(folder: Path) -> RunRecord:
    """Return what a folder's cells are the answer to.

    Raises:
        ArtifactError: when the folder holds no run.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        message = f"{path}: missing, expected a folder of cells that an experiment's run wrote"
        raise ArtifactError(message)
    return load_config(RunRecord, path.read_text(encoding="utf-8"), where=path.name)


def read_cells(folder: Path, record: RunRecord) -> list[Cell]:
    """Return a run's cells.

    Raises:
        ArtifactError: naming a cell that is missing or is of another run.
    """
    cells = []
    for stem, key in record.cells.items():
        cell = read_cell(folder, stem)
        if cell is None or cell.key != key:
            found = "missing" if cell is None else f"of another run ({cell.key})"
            message = f"{folder / stem}.json: {found}, expected the cell {key}"
            raise ArtifactError(message)
        cells.append(cell)
    return cells
