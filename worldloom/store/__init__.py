"""Where artifacts and records live: a folder on a disk, or a bucket of any S3.

`open_store` turns an address into a store; everything else of the project knows the protocol only.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worldloom.errors import StoreError
from worldloom.store.folder import FolderStore
from worldloom.store.protocol import ArtifactStore, Record

__all__ = ["ArtifactStore", "FolderStore", "Record", "open_store"]


def open_store(uri: str, *, cache: Path | None = None) -> ArtifactStore:
    """Open the store at a folder's path, a `file://` address or `s3://bucket/prefix`.

    Args:
        uri: the address.
        cache: folder that keeps local copies of a remote store's artifacts; by default
            `$WORLDLOOM_HOME/cache`, or `out/cache` where that is not set.

    Raises:
        StoreError: for an address of another kind, or a remote store without its keys.
    """
    if not uri:
        message = "artifact store address is empty, expected a folder or s3://bucket/prefix"
        raise StoreError(message)
    if "://" not in uri:
        return FolderStore(Path(uri).expanduser())
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from worldloom.store.s3 import S3Store

        home = Path(os.environ.get("WORLDLOOM_HOME", "out"))
        return S3Store.from_uri(uri, cache=cache or home / "cache")
    message = f"artifact store {uri!r}: expected a folder, file:///folder or s3://bucket/prefix"
    raise StoreError(message)
