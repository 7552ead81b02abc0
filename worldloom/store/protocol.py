"""What every artifact store promises, and the names it accepts.

An artifact is stored under its digest and exists whole or not at all. A record is a small JSON
object under a path-like name (`steps/<key>.json`), replaced atomically. This module does not know
where either is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from worldloom.artifacts import ArtifactKind, Manifest
from worldloom.config import JsonValue, canonical_json
from worldloom.errors import StoreError

Record = dict[str, JsonValue]
_RECORD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@=-]*(/[A-Za-z0-9_-][A-Za-z0-9._@=-]*)*")


class ArtifactStore(Protocol):
    """A place for artifacts, addressed by digest, and for records, addressed by name."""

    @property
    def uri(self) -> str:
        """Address that opens this store again."""
        ...

    def put(
        self,
        folder: Path,
        *,
        kind: ArtifactKind,
        config: Mapping[str, object],
        parents: Mapping[str, str],
    ) -> str:
        """Store a folder's files and return the artifact's digest; the same content twice is one.

        Raises:
            ArtifactError: if the folder cannot be an artifact.
            StoreError: if it cannot be written; nothing half-written can be fetched then.
        """
        ...

    def fetch(self, digest: str, *, kind: ArtifactKind | None = None) -> Path:
        """Return a local folder with the artifact, every byte verified by this call.

        Raises:
            ArtifactError: if it is missing, damaged (naming the file) or of another kind.
            StoreError: if the store cannot be read.
        """
        ...

    def has(self, digest: str) -> bool:
        """Tell whether the artifact is here; its files are not verified.

        Raises:
            ArtifactError: if what is here can be seen to be damaged.
        """
        ...

    def manifest(self, digest: str) -> Manifest:
        """Return an artifact's manifest, checked against the digest.

        Raises:
            ArtifactError: if it is missing or damaged.
        """
        ...

    def put_record(
        self, name: str, value: Mapping[str, object], *, if_absent: bool = False
    ) -> bool:
        """Write a record atomically; with `if_absent` only the first of all writers gets True.

        Raises:
            StoreError: if it cannot be written, or the store cannot keep the `if_absent` promise.
        """
        ...

    def get_record(self, name: str) -> Record | None:
        """Return a record, or None where there is none.

        Raises:
            StoreError: if it cannot be read or is no JSON object.
        """
        ...

    def list_records(self, prefix: str) -> list[str]:
        """Return the sorted names of all records that start with the prefix."""
        ...


def check_record_name(name: str) -> str:
    """Return a record's name if it is safe in every store.

    Raises:
        ValueError: for an empty, absolute or climbing name or an unusual character.
    """
    if not _RECORD_NAME.fullmatch(name):
        message = (
            f"record name {name!r}: expected parts of letters, digits and ._@=- joined by /,"
            " none of which starts with a dot"
        )
        raise ValueError(message)
    return name


def record_to_bytes(name: str, value: Mapping[str, object]) -> bytes:
    """Return a record's text.

    Raises:
        ValueError: if the value is no JSON object.
    """
    try:
        return canonical_json(dict(value)).encode() + b"\n"
    except (TypeError, ValueError) as error:
        message = f"record {name}: expected plain JSON values ({error})"
        raise ValueError(message) from error


def record_from_bytes(name: str, data: bytes, *, where: str) -> Record:
    """Parse a record's text.

    Raises:
        StoreError: naming the record and its place.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        message = f"record {name} in {where} is damaged, expected a JSON object ({error})"
        raise StoreError(message) from error
    if not isinstance(value, dict):
        message = f"record {name} in {where} is damaged, expected a JSON object, got {value!r}"
        raise StoreError(message)
    return value
