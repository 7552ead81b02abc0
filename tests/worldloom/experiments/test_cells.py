"""Cells on disk: whole or not there, and only for what they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.errors import ConfigError
from worldloom.experiments.cells import (
    FIRST_FRAMES_SUFFIX,
    MOST_FILM_FRAMES,
    Cell,
    CellArrays,
    WalkRecord,
    cell_key,
    cell_name,
    folder_digest,
    part_digests,
    read_arrays,
    read_cell,
    read_first_frames,
    write_cell,
    write_first_frames,
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


def film(num_frames):
    """Smooth colours, which JPEG keeps."""
    ramp = np.linspace(40, 200, 16, dtype=np.uint8)
    return np.broadcast_to(ramp[None, :, None, None], (num_frames, 16, 16, 3)).copy()


def test_a_cell_and_its_arrays_come_back(tmp_path):
    write_cell(tmp_path, CELL, CellArrays([np.eye(3)], [np.ones((2, 3))], film(3)))
    assert read_cell(tmp_path, STEM) == CELL
    back = read_arrays(tmp_path, STEM)
    assert np.array_equal(back.features[0], np.eye(3))
    assert np.array_equal(back.real_features[0], np.ones((2, 3)))
    assert np.abs(back.film.astype(int) - film(3)).max() <= 4
    assert not list(tmp_path.glob("*.partial"))


def test_of_a_long_film_the_end_is_kept(tmp_path):
    long = film(MOST_FILM_FRAMES + 5)
    long[5:] //= 2
    write_cell(tmp_path, CELL, CellArrays([np.eye(3)], [np.eye(3)], long))
    back = read_arrays(tmp_path, STEM).film
    assert len(back) == MOST_FILM_FRAMES
    assert back[0].max() < 110


def test_first_frames_lie_in_a_file_of_their_own(tmp_path):
    write_first_frames(tmp_path, STEM, [film(2), film(2) // 2])
    assert [path.name for path in tmp_path.iterdir()] == [f"{STEM}{FIRST_FRAMES_SUFFIX}"]
    first, second = read_first_frames(tmp_path, STEM)
    assert np.array_equal(first, film(2))
    assert np.array_equal(second, film(2) // 2)


def test_what_is_not_there_is_none_and_what_is_no_cell_is_refused(tmp_path):
    assert read_cell(tmp_path, STEM) is None
    (tmp_path / f"{STEM}.json").write_text("{}")
    with pytest.raises(ConfigError):
        read_cell(tmp_path, STEM)
    assert read_first_frames(tmp_path, STEM) is None


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


def test_a_starters_parts_are_told_from_each_other_and_from_what_is_not_there(tmp_path):
    for part in ("vae", "student", "places"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "file").write_text(part)
    found = part_digests(tmp_path)
    assert set(found) == {"vae", "student"}
    assert found["vae"] == folder_digest(tmp_path / "vae") != found["student"]
