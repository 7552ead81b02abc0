"""Makes a book of a run's cells and writes it, with its page, plot and films, into a folder.

Weights are not needed: what the cells are the answer to lies beside them. It does not know the
command line.
"""

from __future__ import annotations

from pathlib import Path

from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.protocol import record_case
from worldloom.experiments.book import Book, make_book, write_book
from worldloom.experiments.cells import film_part, read_arrays, stem_of
from worldloom.experiments.page import write_film, write_page, write_sheet
from worldloom.experiments.run_record import read_cells, read_run


def publish(cells_folder: Path, folder: Path) -> tuple[Book, list[Path]]:
    """Return the book of a run's cells and the paths of what was written into `folder`.

    Raises:
        ArtifactError: when there is no run, or a cell of it is missing.
    """
    record = read_run(cells_folder)
    in_order = [arm.name for arm in record.experiment.arms]
    found = read_cells(cells_folder, record)  # in the order in which they were walked or joined
    cells = sorted(found, key=lambda cell: in_order.index(cell.arm))
    arrays = {cell.key: read_arrays(cells_folder, stem_of(cell)) for cell in cells}
    book = make_book(
        record.experiment,
        cells,
        arrays,
        command=record.command,
        machine=record.machine,
        left_out=record.left_out,
        bootstrap=BootstrapConfig(),
        frechet=record.frechet,
    ).model_copy(update={"training": record.training, "starters": record.starters})
    paths = [write_book(folder, book), *write_page(folder, book)]
    for cases in record.cases:
        films = [("recording", film_part(record_case(cases, 0).frames))]
        films += [
            (cell.arm, arrays[cell.key].film)
            for cell in cells
            if (cell.place, cell.seed_index) == (cases.place, 0)
        ]
        paths += [write_film(folder, cases.place, films), write_sheet(folder, cases.place, films)]
    return book, paths
