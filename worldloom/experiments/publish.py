"""Makes a book of finished cells and writes it, with its page, plot and films, into a folder.

Only cells of this very setting are taken: `run_experiment` returns them from disk. It does not know
the command line.
"""

from __future__ import annotations

from pathlib import Path

from worldloom.bench.record import this_machine
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.protocol import record_case
from worldloom.experiments.book import Book, make_book, write_book
from worldloom.experiments.cells import Cell, cell_name, read_arrays
from worldloom.experiments.page import write_film, write_page
from worldloom.experiments.run import run_experiment
from worldloom.experiments.setting import Setting
from worldloom.experiments.walk_cells import WalkCells


def publish(setting: Setting, folder: Path, command: str) -> tuple[Book, list[Path]]:
    """Return the book of a setting's cells and the paths of what was written.

    Raises:
        ConfigError: as `run_experiment` does.
    """
    cells = run_experiment(setting)
    arrays = {cell.key: read_arrays(setting.folder, _stem(cell)) for cell in cells}
    book = make_book(
        setting.experiment,
        cells,
        arrays,
        command=command,
        machine=this_machine(setting.device),
        left_out=setting.left_out(),
        bootstrap=BootstrapConfig(),
        frechet=setting.config.measure.frechet,
    )
    paths = [write_book(folder, book), *write_page(folder, book)]
    for world in setting.config.worlds:
        for plan in setting.plans():
            recording = record_case(WalkCells(setting, world, plan).cases, 0)
            films = [("recording", recording.frames)]
            films += [
                (cell.arm, arrays[cell.key].films[0])
                for cell in cells
                if (cell.world, cell.path, cell.seed_index) == (world, plan.path, 0)
            ]
            paths.append(write_film(folder, (world, plan.path), films))
    return book, paths


def _stem(cell: Cell) -> str:
    return cell_name(cell.arm, cell.seed_index, cell.world, cell.path)
