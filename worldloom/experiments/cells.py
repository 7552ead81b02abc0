"""A cell: one arm under one training seed on one kind of walk, finished and on disk.

    <folder>/<cell>.json   `Cell`: figures of every walk, times, sizes
    <folder>/<cell>.npz    features of novel patches by walk, first frames, a few films

The JSON is written last and in one move, so a cell is finished or is not there. Its key is a digest
of everything that decides its content, weights included; a cell with another key is not this one.
It does not know how a cell is computed.

Letters: W walks, F frames, N patches, E features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from worldloom.arrays import ByteArray, FloatArray
from worldloom.config import Config, JsonValue, digest_of, load_config
from worldloom.evaluate.latency import LatencySummary

_CHUNK_BYTES = 1 << 20


class WalkRecord(Config):
    """One walk's figures."""

    clip_id: str = Field(description="the case")
    world: str = Field(description="the world or map")
    noise_seed: int = Field(ge=0, description="seed of the walk's noise")
    values: dict[str, float | None] = Field(description="figures by name; None where it has none")
    segment_psnr_db: tuple[float, ...] = Field(description="mean of each segment, decibels")


class Cell(Config):
    """What one arm came to under one training seed on one kind of walk."""

    key: str = Field(description="digest of everything that decides the content")
    arm: str = Field(description="the arm")
    seed_index: int = Field(ge=0, description="which training seed")
    world: str = Field(description="where it was walked")
    path: str = Field(description="kind of way")
    walks: tuple[WalkRecord, ...] = Field(min_length=1, description="walk by walk")
    batch_size: int = Field(ge=1, description="walks that advanced together")
    one_walk: LatencySummary | None = Field(
        None, description="seconds a segment of one walk alone; None where it was not timed"
    )
    weight_bytes: int = Field(ge=1, description="bytes of the transformer as it was held")
    weight_ratio: float = Field(gt=0, description="the same over 32-bit floats")
    device: str = Field(description="where it computed")


@dataclass(frozen=True)
class CellArrays:
    """What is kept beside the figures."""

    features: list[FloatArray]  # W of [N, E], of what was made
    real_features: list[FloatArray]  # the same of what was recorded
    first_frames: ByteArray  # [W, F, H, W, 3], the first segment's
    films: list[ByteArray]  # a few of [F, H, W, 3]


def cell_name(arm: str, seed_index: int, world: str, path: str) -> str:
    """Return the stem of a cell's files."""
    return f"{world}-{path}-{arm}-{seed_index}"


def cell_key(*parts: JsonValue) -> str:
    """Return the digest of what decides a cell."""
    return digest_of(list(parts))


def folder_digest(folder: Path) -> str:
    """Return the digest of a folder's files, names and bytes."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def write_cell(folder: Path, cell: Cell, arrays: CellArrays) -> None:
    """Write a finished cell."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = cell_name(cell.arm, cell.seed_index, cell.world, cell.path)
    named: dict[str, ByteArray | FloatArray] = {"first_frames": arrays.first_frames}
    named |= {f"made_{index:04d}": value for index, value in enumerate(arrays.features)}
    named |= {f"real_{index:04d}": value for index, value in enumerate(arrays.real_features)}
    named |= {f"film_{index}": film for index, film in enumerate(arrays.films)}
    np.savez_compressed(folder / f"{stem}.npz", **named)
    partial = folder / f"{stem}.partial"
    partial.write_text(cell.model_dump_json(indent=1) + "\n")
    partial.replace(folder / f"{stem}.json")


def read_cell(folder: Path, stem: str) -> Cell | None:
    """Return a finished cell, None where there is none; raises `ConfigError` for another file."""
    path = folder / f"{stem}.json"
    if not path.is_file():
        return None
    return load_config(Cell, path.read_text(), where=path.name)


def read_arrays(folder: Path, stem: str) -> CellArrays:
    """Return what lies beside a finished cell."""
    with np.load(folder / f"{stem}.npz", allow_pickle=False) as file:
        names = sorted(file.files)
        return CellArrays(
            features=[file[name] for name in names if name.startswith("made_")],
            real_features=[file[name] for name in names if name.startswith("real_")],
            first_frames=file["first_frames"],
            films=[file[name] for name in names if name.startswith("film_")],
        )
