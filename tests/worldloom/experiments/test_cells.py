"""Cells on disk: whole or not there, and only for what they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.errors import ConfigError
from worldloom.experiments.cells import (
    Cell,
    CellArrays,
    WalkRecord,
    cell_key,
    cell_name,
    folder_digest,
    read_arrays,
    read_cell,
    write_cell,
)

CELL = Cell(
    key=cell_key("a", 1),
    arm="ours",
    seed_index=0,
    world="procedural",
    path="loop",
    walks=(
        WalkRecord(
            clip_id="c", world="w", noise_seed=3, values={"psnr_db": 20.0, "ssim": None},
            segment_psnr_db=(20.0, 19.0),
        ),
    ),
    batch_size=1,
    weight_bytes=10,
    weight_ratio=0.5,
    device="cpu",
)  # fmt: skip
STEM = cell_name("ours", 0, "procedural", "loop")


def test_a_cell_and_its_arrays_come_back_as_they_were(tmp_path):
    frames = np.arange(48, dtype=np.uint8).reshape(1, 1, 4, 4, 3)
    arrays = CellArrays([np.eye(3)], [np.ones((2, 3))], frames, [frames[0]])
    write_cell(tmp_path, CELL, arrays)
    assert read_cell(tmp_path, STEM) == CELL
    back = read_arrays(tmp_path, STEM)
    assert np.array_equal(back.features[0], np.eye(3))
    assert np.array_equal(back.real_features[0], np.ones((2, 3)))
    assert np.array_equal(back.first_frames, frames)
    assert np.array_equal(back.films[0], frames[0])
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_not_there_is_none_and_what_is_no_cell_is_refused(tmp_path):
    assert read_cell(tmp_path, STEM) is None
    (tmp_path / f"{STEM}.json").write_text("{}")
    with pytest.raises(ConfigError):
        read_cell(tmp_path, STEM)


def test_a_key_follows_from_what_decides_the_cell():
    assert cell_key("a", 1) == CELL.key
    assert cell_key("a", 2) != CELL.key


def test_a_folders_digest_changes_with_a_byte_and_with_a_name(tmp_path):
    (tmp_path / "a").write_text("one")
    first = folder_digest(tmp_path)
    assert folder_digest(tmp_path) == first
    (tmp_path / "a").write_text("two")
    assert folder_digest(tmp_path) != first
    (tmp_path / "a").write_text("one")
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_digest(tmp_path) != first
