"""Runs an experiment cell by cell: whatever is finished stays, and a run that was ended goes on.

Arms take turns on the same walks with the same noise. An arm for which no weights were given is
left out and said to be. What the cells are the answer to is written beside them whenever one is
finished. It does not know tables or pictures.
"""

from __future__ import annotations

from worldloom.bench.record import this_machine
from worldloom.errors import ConfigError
from worldloom.experiments.cells import Cell, Place, stem_of
from worldloom.experiments.run_record import RunRecord, with_other_places, write_run
from worldloom.experiments.setting import Setting
from worldloom.experiments.walk_cells import WalkCells


def run_experiment(setting: Setting) -> list[Cell]:
    """Return every cell that can be had, computing those that are not there.

    Raises:
        ArtifactError: when weights that were given cannot be read.
        ConfigError: when no arm has weights, or no walk is of a kind that was asked for.
    """
    left_out = setting.left_out()
    if len(left_out) == len(setting.arms()):
        message = (
            f"experiment {setting.experiment.name}: no weights for any of {', '.join(left_out)},"
            " expected --checkpoint ARM=FOLDER"
        )
        raise ConfigError(message)
    record = RunRecord(
        experiment=setting.experiment,
        command=setting.command,
        machine=this_machine(setting.device),
        training=setting.training,
        starters=tuple(setting.folders.starter_digests()),
        cases=(),
        left_out=tuple(left_out),
        frechet=setting.config.measure.frechet,
        cells={},
    )
    record = with_other_places(record, setting.folder, _places(setting))
    found: list[Cell] = []
    try:
        for world in setting.config.worlds:
            for plan in setting.plans():
                places = WalkCells(setting, world, plan)
                record = record.model_copy(update={"cases": (*record.cases, places.cases)})
                for cell in places.cells():
                    found.append(cell)
                    cells = record.cells | {stem_of(cell): cell.key}
                    record = record.model_copy(update={"cells": cells})
                    write_run(setting.folder, record)
    finally:
        setting.close()
    return found


def _places(setting: Setting) -> set[Place]:
    """Return the worlds and kinds of way that this run walks."""
    return {(world, plan.path) for world in setting.config.worlds for plan in setting.plans()}
