"""The folder store: whole or absent, found damage, records that are replaced in one step."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worldloom.artifacts import MANIFEST_NAME
from worldloom.errors import ArtifactError, StoreError
from worldloom.store import FolderStore, open_store
from worldloom.store.disk import Disk


class FullDisk(Disk):
    """A disk that takes a number of files and is full then."""

    def __init__(self, capacity_files: int, error_number: int = errno.ENOSPC) -> None:
        self._left = capacity_files
        self._error_number = error_number

    def _take(self, path: Path) -> None:
        if self._left == 0:
            path.write_bytes(b"half")
            raise OSError(self._error_number, os.strerror(self._error_number))
        self._left -= 1

    def write(self, path: Path, data: bytes) -> None:
        self._take(path)
        super().write(path, data)

    def copy(self, source: Path, target: Path) -> None:
        self._take(target)
        super().copy(source, target)


def make_content(root: Path, text: str = "hello") -> Path:
    folder = root / "my content"
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "inner" / "notes.txt").write_text(text)
    return folder


def put(store: FolderStore, folder: Path) -> str:
    return store.put(folder, kind="clips", config={"a": 1}, parents={})


def files_under(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_stored_artifact_comes_back_whole(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "a store")
    digest = put(store, make_content(tmp_path))
    folder = store.fetch(digest, kind="clips")
    assert (folder / "weights.bin").read_bytes() == bytes(range(256))
    assert (folder / "inner" / "notes.txt").read_text() == "hello"
    assert store.has(digest)
    assert store.manifest(digest).kind == "clips"
    assert list((store.root / "staging").glob("[!.]*")) == []


def test_same_content_is_stored_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    first = put(store, make_content(tmp_path))
    inode = (store.fetch(first) / "weights.bin").stat().st_ino
    assert put(store, make_content(tmp_path)) == first
    assert (store.fetch(first) / "weights.bin").stat().st_ino == inode


def test_store_can_be_reopened_by_its_uri(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    assert open_store(store.uri).has(digest)


def test_unknown_digest_is_absent(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = "sha256:" + "0" * 64
    assert not store.has(digest)
    with pytest.raises(ArtifactError, match="not in the store"):
        store.fetch(digest)
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        store.manifest(digest)


def test_other_kind_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    with pytest.raises(ArtifactError, match="expected 'release'"):
        store.fetch(digest, kind="release")


def test_flipped_byte_of_equal_size_and_time_is_found(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    path = store.fetch(digest) / "weights.bin"
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\x00")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(ArtifactError, match=r"weights\.bin is damaged") as caught:
        store.fetch(digest)
    assert digest in str(caught.value)


def test_missing_manifest_is_damage_and_not_absence(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    (store.folder_of(digest) / MANIFEST_NAME).unlink()
    for look in (store.has, store.fetch, store.manifest):
        with pytest.raises(ArtifactError, match=r"manifest\.json is missing") as caught:
            look(digest)
        assert digest in str(caught.value)


def test_putting_the_content_again_mends_a_damaged_artifact(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    (store.folder_of(digest) / MANIFEST_NAME).unlink()
    assert put(store, make_content(tmp_path)) == digest
    assert store.fetch(digest).is_dir()
    assert list((store.root / "staging").glob("[!.]*")) == []


@pytest.mark.parametrize("capacity_files", [0, 1, 2])
@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capacity_files: int, error_number: int
) -> None:
    root = tmp_path / "store"
    store = FolderStore(root, disk=FullDisk(capacity_files, error_number))
    with pytest.raises(StoreError, match="is full, free some space") as caught:
        put(store, make_content(tmp_path))
    assert "\n" not in str(caught.value)
    assert files_under(root) == {"staging/.lock"}
    digest = put(FolderStore(root), make_content(tmp_path))
    assert FolderStore(root).has(digest)


def test_full_disk_keeps_the_old_record(tmp_path: Path) -> None:
    root = tmp_path / "store"
    FolderStore(root).put_record("steps/a.json", {"n": 1})
    with pytest.raises(StoreError, match=r"writing record steps/a\.json: the disk of .* is full"):
        FolderStore(root, disk=FullDisk(0)).put_record("steps/a.json", {"n": 2})
    assert FolderStore(root).get_record("steps/a.json") == {"n": 1}
    assert files_under(root) == {"records/steps/a.json"}


def test_root_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    store = FolderStore(tmp_path / "store")
    with pytest.raises(StoreError, match="cannot be used"):
        put(store, make_content(tmp_path))
    with pytest.raises(StoreError, match="cannot be used"):
        store.put_record("a", {})


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    abandoned = store.root / "staging" / "dead" / "artifact"
    abandoned.mkdir(parents=True)
    (abandoned / "weights.bin").write_bytes(b"half")
    put(store, make_content(tmp_path))
    assert not abandoned.exists()


def test_staging_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "store"
    other = FolderStore(root)

    class MeetsAnother(Disk):
        def copy(self, source: Path, target: Path) -> None:
            put(other, make_content(tmp_path / "other", "different"))
            super().copy(source, target)

    digest = put(FolderStore(root, disk=MeetsAnother()), make_content(tmp_path))
    assert other.fetch(digest).is_dir()


def test_writer_that_comes_second_takes_the_first_ones_artifact(tmp_path: Path) -> None:
    root = tmp_path / "store"
    content = make_content(tmp_path)

    class IsOvertaken(Disk):
        def write(self, path: Path, data: bytes) -> None:
            put(FolderStore(root), content)
            super().write(path, data)

    digest = put(FolderStore(root, disk=IsOvertaken()), content)
    assert FolderStore(root).fetch(digest).is_dir()


def test_source_that_changes_during_the_copy_is_refused(tmp_path: Path) -> None:
    class Changes(Disk):
        def copy(self, source: Path, target: Path) -> None:
            source.write_bytes(b"changed")
            super().copy(source, target)

    root = tmp_path / "store"
    with pytest.raises(ArtifactError, match="is damaged"):
        put(FolderStore(root, disk=Changes()), make_content(tmp_path))
    assert files_under(root) == {"staging/.lock"}


def test_records_are_read_listed_and_replaced(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    assert store.get_record("steps/a.json") is None
    assert store.list_records("") == []
    assert store.put_record("steps/b.json", {"n": 1})
    assert store.put_record("steps/a.json", {"n": 1.5, "s": "x", "l": [None, True]})
    assert store.put_record("latest/a.json", {})
    assert store.put_record("steps/b.json", {"n": 2})
    assert store.get_record("steps/b.json") == {"n": 2}
    assert store.get_record("steps/a.json") == {"n": 1.5, "s": "x", "l": [None, True]}
    assert store.list_records("steps/") == ["steps/a.json", "steps/b.json"]
    assert store.list_records("") == ["latest/a.json", "steps/a.json", "steps/b.json"]
    assert store.get_record("steps/a.json/below") is None


def test_record_if_absent_is_given_to_the_first(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    assert store.put_record("lease", {"owner": "a"}, if_absent=True)
    assert not store.put_record("lease", {"owner": "b"}, if_absent=True)
    assert store.get_record("lease") == {"owner": "a"}


def test_record_if_absent_has_one_winner_among_writers(tmp_path: Path) -> None:
    root = tmp_path / "store"

    def claim(worker: int) -> bool:
        return FolderStore(root).put_record("lease", {"owner": worker}, if_absent=True)

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(claim, range(64)))
    assert sum(wins) == 1
    assert FolderStore(root).get_record("lease") == {"owner": wins.index(True)}


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_record_is_named(tmp_path: Path, data: bytes) -> None:
    store = FolderStore(tmp_path / "store")
    store.put_record("steps/a.json", {})
    (store.root / "records" / "steps" / "a.json").write_bytes(data)
    with pytest.raises(StoreError, match=r"record steps/a\.json .* is damaged"):
        store.get_record("steps/a.json")


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "a/", ".a", "a b", "a\n"])
def test_unsafe_record_names_are_refused(tmp_path: Path, name: str) -> None:
    store = FolderStore(tmp_path / "store")
    with pytest.raises(ValueError, match="record name"):
        store.put_record(name, {})
    with pytest.raises(ValueError, match="record name"):
        store.get_record(name)


def test_record_of_other_than_json_is_a_callers_mistake(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for value in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises(ValueError, match="plain JSON"):
            store.put_record("a", value)


def test_store_that_was_removed_is_empty(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    digest = put(store, make_content(tmp_path))
    shutil.rmtree(store.root)
    assert not store.has(digest)
    assert store.list_records("") == []
