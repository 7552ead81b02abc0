"""Files in volumes of bounded size."""

from __future__ import annotations

import pytest

from worldloom.errors import ArtifactError
from worldloom.experiments.packing import pack_cells, unpack_cells


def write(folder, **sizes):
    folder.mkdir()
    for name, size in sizes.items():
        (folder / f"{name}.npz").write_bytes(name.encode()[:1] * size)
    return folder


def test_no_volume_is_larger_than_asked_and_nothing_is_lost(tmp_path):
    folder = write(tmp_path / "memory", a=30_000, b=30_000, c=30_000, d=100)
    volumes = pack_cells(folder, tmp_path / "out", most_bytes=75_000)
    assert [volume.name for volume in volumes] == ["memory-0.tar", "memory-1.tar"]
    assert max(volume.stat().st_size for volume in volumes) <= 75_000
    unpack_cells(volumes, tmp_path / "home")
    back = tmp_path / "home" / "memory"
    for path in folder.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()


def test_first_frames_stay_behind(tmp_path):
    folder = write(tmp_path / "memory", a=10)
    (folder / "a.first.npz").write_bytes(b"large")
    unpack_cells(pack_cells(folder, tmp_path / "out"), tmp_path / "home")
    assert [path.name for path in (tmp_path / "home" / "memory").iterdir()] == ["a.npz"]


def test_a_file_that_fits_nowhere_is_named(tmp_path):
    folder = write(tmp_path / "memory", a=100_000)
    with pytest.raises(ArtifactError, match=r"a\.npz: 100000 bytes, expected at most 50000"):
        pack_cells(folder, tmp_path / "out", most_bytes=50_000)
