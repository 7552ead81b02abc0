"""A cell: one arm under one training seed on one kind of walk, finished and on disk.

    <folder>/<cell>.json        `Cell`: figures of every walk, times, sizes
    <folder>/<cell>.npz         features of novel patches by walk, a film
    <folder>/<cell>.first.npz   the control's first frames, which others are compared with

The JSON is written last and in one move, so a cell is finished or is not there. Its key is a digest
of everything that decides its content, weights included; a cell with another key is not this one.
It does not know how a cell is computed.

Letters: S training seeds, W walks, F frames, N patches, E features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field

from worldloom.arrays import FloatArray
from worldloom.config import Config, JsonValue, digest_of, load_config
from worldloom.data.clips import decode_frame, encode_frame
from worldloom.evaluate.latency import LatencySummary
from worldloom.evaluate.video_quality import Frames
from worldloom.experiments.timing import Times
from worldloom.train.checkpoint import write_atomically

FIRST_FRAMES_SUFFIX = ".first.npz"
MOST_FILM_FRAMES = 96
_CHUNK_BYTES = 1 << 20
_STARTER_PARTS = ("vae", "base", "student")

Place = tuple[str, str]
"""A world's name and a kind of way."""
HalfArray = NDArray[np.float16]


class WalkRecord(Config):
    """One walk's figures."""

    clip_id: str = Field(description="the case")
    world: str = Field(description="the world or map")
    noise_seed: int = Field(ge=0, description="seed of the walk's noise")
    values: dict[str, float | None] = Field(description="figures by name; None where it has none")
    segment_psnr_db: tuple[float, ...] = Field(description="mean of each segment, decibels")


class Placed(Config):
    """What is said of one kind of walk."""

    world: str = Field(description="where")
    path: str = Field(description="kind of way")

    @property
    def place(self) -> Place:
        """Where, and on which kind of way."""
        return self.world, self.path


class Cell(Placed):
    """What one arm came to under one training seed on one kind of walk."""

    key: str = Field(description="digest of everything that decides the content")
    arm: str = Field(description="the arm")
    seed_index: int = Field(ge=0, description="which training seed")
    walks: tuple[WalkRecord, ...] = Field(min_length=1, description="walk by walk")
    batch_size: int = Field(ge=1, description="walks that advanced together")
    one_walk: LatencySummary | None = Field(
        None, description="seconds a segment of one walk alone; None where it was not timed"
    )
    weight_bytes: int = Field(ge=1, description="bytes of the transformer as it was held")
    weight_ratio: float = Field(gt=0, description="the same over 32-bit floats")
    num_steps: int | None = Field(
        None, ge=1, description="denoising steps of a segment; None in older cells, as below"
    )
    denoise_seconds: float | None = Field(
        None, ge=0, description="median seconds of a segment's denoising, one walk alone"
    )
    stored_ratio: float | None = Field(
        None, gt=0, description="bytes of the transformer in a release over 32-bit floats"
    )
    control: Times | None = Field(
        None, description="the control's times, taken in turns with these; None for the control"
    )
    device: str = Field(description="where it computed")


@dataclass(frozen=True)
class CellArrays:
    """What is kept beside the figures."""

    features: list[FloatArray]  # W of [N, E], of what was made
    real_features: list[FloatArray]  # the same of what was recorded
    film: Frames  # [F, H, W, 3] of the first walk, at most its last `MOST_FILM_FRAMES`


def cell_name(arm: str, seed_index: int, world: str, path: str) -> str:
    """Return the stem of a cell's files."""
    return f"{world}-{path}-{arm}-{seed_index}"


def stem_of(cell: Cell) -> str:
    """Return the stem of a cell's files."""
    return cell_name(cell.arm, cell.seed_index, cell.world, cell.path)


def figure_table(cells: Sequence[Cell], figure: str) -> Float[FloatArray, "S W"]:
    """Return a figure of an arm's walks, a row a training seed; what has none is not a number."""
    values = [[walk.values.get(figure) for walk in cell.walks] for cell in cells]
    return np.array(values, dtype=np.float64)


def of_common_seeds(one: Sequence[Cell], other: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of two arms of the training seeds that both have, in their order.

    Arms are compared seed by seed, and a run that was ended may have walked one of them once more.
    An arm of one training stands beside every seed of the other.
    """
    if min(len(one), len(other)) == 1:
        return list(one), list(other)
    common = {cell.seed_index for cell in one} & {cell.seed_index for cell in other}
    first, second = ([c for c in own if c.seed_index in common] for own in (one, other))
    return first, second


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


def part_digests(starter: Path) -> dict[str, str]:
    """Return the digests of a starter's VAE and transformers, by part; of those that are there."""
    there = (part for part in _STARTER_PARTS if (starter / part).is_dir())
    return {part: folder_digest(starter / part) for part in there}


def film_part(frames: Frames) -> Frames:
    """Return the part of a walk's film [F, H, W, 3] that is kept: all of it, or its end."""
    return frames[-MOST_FILM_FRAMES:]


def write_cell(folder: Path, cell: Cell, arrays: CellArrays) -> None:
    """Write a finished cell; its film as JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem_of(cell)
    named = {f"made_{index:04d}": _half(value) for index, value in enumerate(arrays.features)}
    named |= {f"real_{index:04d}": _half(value) for index, value in enumerate(arrays.real_features)}
    pictures = [
        np.frombuffer(encode_frame(frame, "jpeg"), np.uint8) for frame in film_part(arrays.film)
    ]
    film = {"film": np.concatenate(pictures), "film_bytes": np.array([len(p) for p in pictures])}
    np.savez_compressed(folder / f"{stem}.npz", **named, **film)
    write_atomically(folder / f"{stem}.json", (cell.model_dump_json(indent=1) + "\n").encode())


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
        pictures = np.split(file["film"], np.cumsum(file["film_bytes"])[:-1])
        return CellArrays(
            features=[_double(file[name]) for name in names if name.startswith("made_")],
            real_features=[_double(file[name]) for name in names if name.startswith("real_")],
            film=np.stack([decode_frame(picture.tobytes(), stem) for picture in pictures]),
        )


def write_first_frames(folder: Path, stem: str, frames: Sequence[Frames]) -> None:
    """Write the first segment of every walk of the control, W of [F, H, W, 3]."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{stem}{FIRST_FRAMES_SUFFIX}", frames=np.stack(frames))


def read_first_frames(folder: Path, stem: str) -> list[Frames] | None:
    """Return the first segment of every walk of the control; None where it was walked elsewhere."""
    path = folder / f"{stem}{FIRST_FRAMES_SUFFIX}"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        return list(file["frames"])


def _half(values: FloatArray) -> HalfArray:
    return values.astype(np.float16)


def _double(values: HalfArray) -> FloatArray:
    return values.astype(np.float64)
