"""Runs an experiment cell by cell: whatever is finished stays, and a run that was ended goes on.

Arms take turns on the same walks with the same noise. An arm for which no weights were given is
left out and said to be. It does not know tables or pictures.
"""

from __future__ import annotations

from worldloom.errors import ConfigError
from worldloom.experiments.cells import Cell
from worldloom.experiments.setting import Setting
from worldloom.experiments.walk_cells import WalkCells


def run_experiment(setting: Setting) -> list[Cell]:
    """Return every cell that can be had, computing those that are not there.

    Raises:
        ArtifactError: when weights that were given cannot be read.
        ConfigError: when no arm has weights, or no walk is of a kind that was asked for.
    """
    left_out = setting.left_out()
    if len(left_out) == len(setting.experiment.arms):
        message = (
            f"experiment {setting.experiment.name}: no weights for any of {', '.join(left_out)},"
            " expected --checkpoint ARM=FOLDER"
        )
        raise ConfigError(message)
    try:
        return [
            cell
            for world in setting.config.worlds
            for plan in setting.plans()
            for cell in WalkCells(setting, world, plan).cells()
        ]
    finally:
        setting.close()
