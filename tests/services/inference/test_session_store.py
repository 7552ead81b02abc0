"""Parts of sessions in a folder; the same promises are kept in a bucket by `tests/integration`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.inference.session_store import FolderSessionStore, open_session_store
from worldloom.errors import StoreError
from worldloom.store.disk import Disk


@pytest.fixture
def store(tmp_path: Path) -> FolderSessionStore:
    return FolderSessionStore(tmp_path)


def test_parts_come_back_in_order_and_can_be_replaced(store) -> None:
    store.write("a", "2", b"two")
    store.write("a", "1", b"old")
    store.write("a", "1", b"one")
    store.write("b", "1", b"other")
    assert store.names("a") == ["1", "2"]
    assert [store.read("a", name) for name in ("1", "2")] == [b"one", b"two"]


def test_unknown_session_has_no_parts(store) -> None:
    assert store.names("never") == []
    store.delete("never", ["1"])


@pytest.mark.parametrize("session_id", ["../../etc", "/", "a/b", "..", "\0", "x" * 64])
def test_no_name_of_a_session_leaves_the_folder(store, tmp_path, session_id) -> None:
    store.write(session_id, "1", b"data")
    [folder] = (tmp_path / "sessions").iterdir()
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert store.names(session_id) == ["1"]


def test_deleted_parts_take_the_folder_with_the_last_of_them(store, tmp_path) -> None:
    for name in ("1", "2"):
        store.write("a", name, b"data")
    store.delete("a", ["1", "absent"])
    assert store.names("a") == ["2"]
    store.delete("a", ["2"])
    assert list((tmp_path / "sessions").iterdir()) == []


def test_sessions_that_nobody_ended_are_deleted_by_age(store, tmp_path) -> None:
    for name in ("old", "new"):
        store.write(name, "1", b"data")
    [old] = [path for path in (tmp_path / "sessions").iterdir() if path.name == place("old", store)]
    os.utime(old, (1.0, 1.0))
    assert store.delete_older_than(3600) == 1
    assert (store.names("old"), store.names("new")) == ([], ["1"])


def place(session_id: str, store: FolderSessionStore) -> str:
    return store._folder(session_id).name


def test_store_that_holds_nothing_yet_has_nothing_old(store) -> None:
    assert store.delete_older_than(0) == 0


class FullDisk(Disk):
    """A disk that refuses after half of the bytes."""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "no space")


def test_part_that_does_not_fit_is_not_there_at_all(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"the disk of .* is full"):
        FolderSessionStore(tmp_path, disk=FullDisk()).write("a", "1", b"data")
    store = FolderSessionStore(tmp_path)
    assert store.names("a") == []
    store.write("a", "1", b"data")
    assert store.names("a") == ["1"]


@pytest.mark.parametrize("address", ["", "ftp://host/x", "file://host/x"])
def test_address_of_another_kind_is_refused(address) -> None:
    with pytest.raises(StoreError, match="expected a folder, file:///folder or s3://"):
        open_session_store(address)


def test_folders_are_opened_by_path_and_by_address(tmp_path) -> None:
    open_session_store(str(tmp_path)).write("a", "1", b"data")
    assert open_session_store(f"file://{tmp_path}").names("a") == ["1"]
