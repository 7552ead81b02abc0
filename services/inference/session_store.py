"""Where sessions are kept so that another process can go on with them: a folder, or any S3.

A session is a handful of parts, each written whole or not at all under a name. The name of a
session may be any text, so its place is that text's digest. This module does not know what a part
holds.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from minio.deleteobjects import DeleteObject

from worldloom.errors import StoreError
from worldloom.store.disk import Disk, disk_errors, write_atomically
from worldloom.store.s3_connection import S3Connection, connect, s3_errors

STORE_VARIABLE = "WORLDLOOM_SESSION_STORE"
_FOLDER = "sessions"


class SessionStore(Protocol):
    """Keeps the parts of sessions; every method raises `StoreError` when it cannot."""

    def write(self, session_id: str, name: str, data: bytes) -> None:
        """Write a part, replacing one of the same name."""

    def names(self, session_id: str) -> list[str]:
        """Return the sorted names of a session's parts, none where it is unknown."""

    def read(self, session_id: str, name: str) -> bytes:
        """Return a part that is there."""

    def delete(self, session_id: str, names: Iterable[str]) -> None:
        """Delete parts; those that are not there are passed over."""

    def delete_older_than(self, seconds: float) -> int:
        """Delete every session whose latest part is older; return how many there were."""


def open_session_store(uri: str) -> SessionStore:
    """Open the store at a folder's path, a `file://` address or `s3://bucket/prefix`.

    Raises:
        StoreError: for an address of another kind, or a remote store without its keys.
    """
    parts = urlsplit(uri)
    if uri and "://" not in uri:
        return FolderSessionStore(Path(uri).expanduser())
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return FolderSessionStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return S3SessionStore(connect(uri))
    message = f"session store {uri!r}: expected a folder, file:///folder or s3://bucket/prefix"
    raise StoreError(message)


class FolderSessionStore:
    """Sessions under one folder of a local or shared disk."""

    def __init__(self, root: Path, *, disk: Disk | None = None) -> None:
        """Use `root`, which is made at the first write.

        Args:
            root: the store's folder.
            disk: how files are written; a test gives one that fails.
        """
        self._root = root.absolute() / _FOLDER
        self._disk = disk or Disk()

    def write(self, session_id: str, name: str, data: bytes) -> None:
        """Write a part, replacing one of the same name."""
        with disk_errors(f"storing part {name} of a session", self._root):
            path = self._folder(session_id) / name
            write_atomically(self._disk, path, data, if_absent=False)

    def names(self, session_id: str) -> list[str]:
        """Return the sorted names of a session's parts."""
        with disk_errors("looking for a session", self._root):
            folder = self._folder(session_id)
            if not folder.is_dir():
                return []
            return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))

    def read(self, session_id: str, name: str) -> bytes:
        """Return a part that is there."""
        with disk_errors(f"reading part {name} of a session", self._root):
            return (self._folder(session_id) / name).read_bytes()

    def delete(self, session_id: str, names: Iterable[str]) -> None:
        """Delete parts, and the session's folder with the last of them."""
        folder = self._folder(session_id)
        with disk_errors("deleting parts of a session", self._root):
            for name in names:
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # other parts are left, or it is gone
                folder.rmdir()

    def delete_older_than(self, seconds: float) -> int:
        """Delete every session whose latest part is older."""
        oldest = time.time() - seconds
        count = 0
        with disk_errors("deleting old sessions", self._root):
            for folder in list(self._root.iterdir()) if self._root.is_dir() else []:
                # A part is renamed into the folder, which dates it.
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
                    count += 1
        return count

    def _folder(self, session_id: str) -> Path:
        return self._root / _place_of(session_id)


class S3SessionStore:
    """Sessions under a prefix of one bucket."""

    def __init__(self, connection: S3Connection) -> None:
        """Use a bucket that exists."""
        self._connection = connection
        prefix = connection.prefix.strip("/")
        self._prefix = f"{prefix}/{_FOLDER}/" if prefix else f"{_FOLDER}/"

    def write(self, session_id: str, name: str, data: bytes) -> None:
        """Write a part, replacing one of the same name."""
        key = self._key(session_id, name)
        with self._errors(f"storing part {name} of a session"):
            self._connection.client.put_object(
                self._connection.bucket, key, io.BytesIO(data), len(data)
            )

    def names(self, session_id: str) -> list[str]:
        """Return the sorted names of a session's parts."""
        start = self._key(session_id, "")
        return sorted(key[len(start) :] for key, _ in self._list(start))

    def read(self, session_id: str, name: str) -> bytes:
        """Return a part that is there."""
        key = self._key(session_id, name)
        with self._errors(f"reading part {name} of a session"):
            response = self._connection.client.get_object(self._connection.bucket, key)
            try:
                return bytes(response.data)
            finally:
                response.close()
                response.release_conn()

    def delete(self, session_id: str, names: Iterable[str]) -> None:
        """Delete parts."""
        self._delete([self._key(session_id, name) for name in names])

    def delete_older_than(self, seconds: float) -> int:
        """Delete every session whose latest part is older."""
        oldest = datetime.now(UTC) - timedelta(seconds=seconds)
        sessions: dict[str, list[tuple[str, datetime]]] = {}
        for key, written_at in self._list(self._prefix):
            sessions.setdefault(key.rsplit("/", 1)[0], []).append((key, written_at))
        old = [
            parts
            for parts in sessions.values()
            if max(written_at for _, written_at in parts) < oldest
        ]
        self._delete([key for parts in old for key, _ in parts])
        return len(old)

    def _list(self, prefix: str) -> list[tuple[str, datetime]]:
        client, bucket = self._connection.client, self._connection.bucket
        with self._errors("listing sessions"):
            return [
                (found.object_name or "", found.last_modified or datetime.now(UTC))
                for found in client.list_objects(bucket, prefix=prefix, recursive=True)
            ]

    def _delete(self, keys: list[str]) -> None:
        if not keys:
            return
        with self._errors("deleting parts of sessions"):
            wanted = [DeleteObject(key) for key in keys]
            # The answers come as they are read; what was absent is no error.
            errors = list(self._connection.client.remove_objects(self._connection.bucket, wanted))
        if errors:
            message = f"deleting parts of sessions: {errors[0].name} stays ({errors[0].code})"
            raise StoreError(message)

    def _key(self, session_id: str, name: str) -> str:
        return f"{self._prefix}{_place_of(session_id)}/{name}"

    def _errors(self, action: str) -> AbstractContextManager[None]:
        uri = f"s3://{self._connection.bucket}/{self._prefix}".rstrip("/")
        return s3_errors(action, uri, self._connection.endpoint)


def _place_of(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
