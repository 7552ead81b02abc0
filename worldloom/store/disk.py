"""Writing to a disk so that a reader, or the next power-on, sees all of it or nothing.

Files are flushed before they are named, folders are filled under a staging name and renamed, and
whatever fails leaves nothing behind. It does not know what is written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worldloom.errors import StoreError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_COPY_BYTES = 1 << 20


class Disk:
    """The few writes that a store makes."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a new file and flush it to the medium."""
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file's bytes to a new file and flush it to the medium."""
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())


@contextmanager
def disk_errors(action: str, folder: Path) -> Iterator[None]:
    """Turn an operating system's error into one sentence.

    Raises:
        StoreError: saying what was being done, where, and what the disk answered.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            message = f"{action}: the disk of {folder} is full, free some space and run again"
        else:
            message = f"{action}: {folder} cannot be used ({error.strerror or error})"
        raise StoreError(message) from error


@contextmanager
def staged_folder(staging: Path) -> Iterator[Path]:
    """Yield a new folder under `staging` that is removed at the end unless it was renamed.

    A folder that a killed process left behind is removed by the next one: the living hold a lock.
    """
    staging.mkdir(parents=True, exist_ok=True)
    folder = staging / uuid.uuid4().hex
    with _locked(staging / ".lock"):
        _remove_abandoned(staging)
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        os.close(lock)


def publish_folder(staged: Path, final: Path) -> bool:
    """Give a staged folder its final name; return False if another writer was first."""
    for folder, _, _ in os.walk(staged, topdown=False):
        flush_folder(Path(folder))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    flush_folder(final.parent)
    return True


def write_atomically(disk: Disk, path: Path, data: bytes, *, if_absent: bool) -> bool:
    """Write a file whole or not at all; with `if_absent` return False where it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.new")
    try:
        disk.write(temporary, data)
        if if_absent:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        else:
            temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries to the medium."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_abandoned(staging: Path) -> None:
    for folder in staging.iterdir():
        if not folder.is_dir():
            continue
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder)
        finally:
            os.close(handle)
