"""Writes are whole or leave nothing, whoever fails and whoever is first."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from worldloom.errors import StoreError
from worldloom.store.disk import (
    Disk,
    disk_errors,
    publish_folder,
    staged_folder,
    write_atomically,
)


class FullDisk(Disk):
    """A disk that is full after the first bytes of a file."""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk of /there is full"),
        (errno.EDQUOT, "the disk of /there is full"),
        (errno.EACCES, "/there cannot be used (Permission denied)"),
    ],
)
def test_the_disks_answer_is_one_sentence(number: int, words: str) -> None:
    with pytest.raises(StoreError) as caught, disk_errors("storing clips", Path("/there")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"storing clips: {words}")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.json"
    assert write_atomically(Disk(), path, b"first", if_absent=False)
    assert write_atomically(Disk(), path, b"second", if_absent=False)
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_only_the_first_writer_of_an_absent_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert write_atomically(Disk(), path, b"first", if_absent=True)
    assert not write_atomically(Disk(), path, b"second", if_absent=True)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(FullDisk(), path, b"new", if_absent=False)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_staged_folder_appears_whole_and_once(tmp_path: Path) -> None:
    final = tmp_path / "objects" / "a"
    for text, is_first in (("one", True), ("two", False)):
        with staged_folder(tmp_path / "staging") as folder:
            (folder / "file").write_text(text)
            assert publish_folder(folder, final) is is_first
    assert (final / "file").read_text() == "one"
    assert [path.name for path in (tmp_path / "staging").iterdir()] == [".lock"]


def test_a_failed_folder_is_removed_and_a_living_one_left_alone(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    abandoned = staging / "of-a-killed-process"
    abandoned.mkdir(parents=True)
    with staged_folder(staging) as living:
        assert not abandoned.exists()
        with pytest.raises(KeyError), staged_folder(staging) as folder:
            raise KeyError
        assert not folder.exists()
        assert living.exists()
