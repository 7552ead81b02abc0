"""Cells in few files of bounded size, to be brought home from a machine that is lent.

First frames stay behind: they serve further arms, not pages. It does not know what figures cells
hold.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from worldloom.config import load_config
from worldloom.errors import ArtifactError
from worldloom.experiments.cells import FIRST_FRAMES_SUFFIX
from worldloom.experiments.run_record import RUN_FILE, RunRecord, joined, read_run, write_run

MOST_BYTES = 16 << 20
_BLOCK_BYTES, _END_BYTES = 512, 10_240  # of a tar file: an entry's header and padding, its end


def pack_cells(folder: Path, out: Path, *, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Write `<out>/<folder's name>-<number>.tar`, all under the folder's name; return their paths.

    Raises:
        ArtifactError: naming a file that is larger than one of them may be.
    """
    volumes: list[list[Path]] = []
    room = 0
    for path in sorted(path for path in folder.iterdir() if not _stays(path)):
        size = 2 * _BLOCK_BYTES + path.stat().st_size
        if size + _END_BYTES > most_bytes:
            message = f"{path}: {path.stat().st_size} bytes, expected at most {most_bytes} in all"
            raise ArtifactError(message)
        if size > room:
            volumes.append([])
            room = most_bytes - _END_BYTES
        volumes[-1].append(path)
        room -= size
    out.mkdir(parents=True, exist_ok=True)
    return [_written(out / f"{folder.name}-{n}.tar", v) for n, v in enumerate(volumes)]


def unpack_cells(volumes: list[Path], folder: Path) -> None:
    """Unpack cells; the folder of their run's name is made under `folder`.

    A run that is there already is joined: several machines may have walked parts of one.

    Raises:
        ArtifactError: naming a kind of walk that the two runs walked differently.
    """
    for volume in volumes:
        with tarfile.open(volume) as file:
            records = _joined_records(file, folder)
            file.extractall(folder, filter="data")
        for path, record in records.items():
            write_run(path, record)


def _joined_records(file: tarfile.TarFile, folder: Path) -> dict[Path, RunRecord]:
    """Return what a volume's runs come to with those that lie in `folder`, still untouched."""
    found = {}
    for member in file:
        path = folder / Path(member.name).parent
        content = file.extractfile(member) if Path(member.name).name == RUN_FILE else None
        if content is not None and (path / RUN_FILE).is_file():
            told = load_config(RunRecord, content.read().decode(), where=member.name)
            found[path] = joined(read_run(path), told)
    return found


def _stays(path: Path) -> bool:
    return path.name.endswith((FIRST_FRAMES_SUFFIX, ".partial"))


def _written(path: Path, files: list[Path]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for each in files:
            file.add(each, arcname=f"{each.parent.name}/{each.name}")
    return path
