"""A store in a bucket of any S3 server, by the `minio` client, with a verified local cache.

Objects: `<prefix>/artifacts/<hex>/<file>` and `<prefix>/records/<name>`. An artifact's manifest is
uploaded last, so a prefix without one is an upload that did not end and counts as absent. Files go
up in parts, and come down once into the cache folder, where every fetch hashes them again. It does
not know what is stored.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import S3Error

from worldloom.artifacts import (
    MANIFEST_NAME,
    ArtifactKind,
    FileEntry,
    Manifest,
    build_manifest,
    check_kind,
    digest_hex,
    hash_file,
    parse_manifest,
    verify_folder,
)
from worldloom.errors import ArtifactError, StoreError
from worldloom.log import log_event
from worldloom.store.disk import disk_errors, publish_folder, staged_folder
from worldloom.store.protocol import Record, check_record_name, record_from_bytes, record_to_bytes
from worldloom.store.s3_connection import connect, s3_errors

logger = logging.getLogger(__name__)

_ABSENT = ("NoSuchKey", "NoSuchObject")
_PRESIGNED_FOR = timedelta(minutes=10)
_CONFLICT_ATTEMPTS = 5
_DEFAULT_PART_BYTES = 16 << 20


class S3Store:
    """Artifacts and records under a prefix of one bucket."""

    def __init__(
        self,
        client: Minio,
        http: urllib3.PoolManager,
        *,
        endpoint: str,
        bucket: str,
        prefix: str,
        cache: Path,
        part_bytes: int = _DEFAULT_PART_BYTES,
    ) -> None:
        """Use a bucket that exists.

        Args:
            client: signs and sends requests.
            http: the client's own connections, for the conditional writes that it lacks.
            endpoint: the server's address, for messages.
            bucket: name of the bucket.
            prefix: everything is stored under it; may be empty.
            cache: folder for local copies of artifacts.
            part_bytes: size of one part of an upload, in bytes.
        """
        self._client = client
        self._http = http
        self._endpoint = endpoint
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._cache = cache.absolute()
        self._part_bytes = part_bytes
        self._is_conditional: bool | None = None

    @classmethod
    def from_uri(cls, uri: str, *, cache: Path) -> S3Store:
        """Open `s3://bucket/prefix` on the server and with the keys that the environment names.

        Raises:
            StoreError: if a key is missing or the bucket's name is none.
        """
        found = connect(uri)
        return cls(
            found.client,
            found.http,
            endpoint=found.endpoint,
            bucket=found.bucket,
            prefix=found.prefix,
            cache=cache,
        )

    def make_bucket(self) -> bool:
        """Make the bucket if it is not there; False when it was."""
        with self._errors(f"making bucket {self._bucket}"):
            if self._client.bucket_exists(self._bucket):
                return False
            self._client.make_bucket(self._bucket)
        return True

    @property
    def uri(self) -> str:
        """Address that opens this store again."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(
        self,
        folder: Path,
        *,
        kind: ArtifactKind,
        config: Mapping[str, object],
        parents: Mapping[str, str],
    ) -> str:
        """Upload a folder's files, its manifest last, and return the artifact's digest."""
        manifest = build_manifest(folder, kind=kind, config=config, parents=parents)
        digest = manifest.digest
        with self._errors(f"storing artifact {digest} ({kind})"):
            sizes = self._sizes(digest)
            for name, entry in manifest.files.items():
                if MANIFEST_NAME not in sizes or sizes.get(name) != entry.size_bytes:
                    self._upload(digest, name, folder / name, entry)
            if MANIFEST_NAME not in sizes:
                text = manifest.to_json().encode()
                self._client.put_object(
                    self._bucket, self._key(digest, MANIFEST_NAME), io.BytesIO(text), len(text)
                )
        return digest

    def fetch(self, digest: str, *, kind: ArtifactKind | None = None) -> Path:
        """Return the artifact's folder in the cache, downloaded if need be, and verified."""
        folder = self._cache / "artifacts" / digest_hex(digest)
        with disk_errors(f"fetching artifact {digest}", self._cache):
            if folder.exists():
                try:
                    check_kind(digest, verify_folder(folder, digest), None)
                except ArtifactError as error:
                    log_event(
                        logger, "cache_damaged", logging.WARNING, digest=digest, reason=str(error)
                    )
                    self._discard(folder)
            if not folder.exists():
                self._download(digest, folder)
            manifest = verify_folder(folder, digest)
        check_kind(digest, manifest, kind)
        return folder

    def has(self, digest: str) -> bool:
        """Tell whether the artifact is here with all files at their sizes."""
        with self._errors(f"reading artifact {digest}"):
            sizes = self._sizes(digest)
        if MANIFEST_NAME not in sizes:
            return False
        for name, entry in self.manifest(digest).files.items():
            if sizes.get(name) != entry.size_bytes:
                message = (
                    f"artifact {digest}: file {name} in {self.uri} has {sizes.get(name)} bytes,"
                    f" expected {entry.size_bytes}"
                )
                raise ArtifactError(message)
        return True

    def manifest(self, digest: str) -> Manifest:
        """Return an artifact's manifest, checked against the digest."""
        key = self._key(digest, MANIFEST_NAME)
        data = self._read(key, f"reading artifact {digest}")
        if data is None:
            message = f"artifact {digest}: {MANIFEST_NAME} is missing in the store {self.uri}"
            raise ArtifactError(message)
        where = f"s3://{self._bucket}/{key}"
        return parse_manifest(data.decode(errors="replace"), digest=digest, where=where)

    def put_record(
        self, name: str, value: Mapping[str, object], *, if_absent: bool = False
    ) -> bool:
        """Write a record; with `if_absent` by a conditional write of the server."""
        key = self._record_key(check_record_name(name))
        data = record_to_bytes(name, value)
        with self._errors(f"writing record {name}"):
            if if_absent:
                self._require_conditional_writes()
                return self._create(key, data)
            self._client.put_object(
                self._bucket, key, io.BytesIO(data), len(data), content_type="application/json"
            )
        return True

    def get_record(self, name: str) -> Record | None:
        """Return a record, or None where there is none."""
        key = self._record_key(check_record_name(name))
        data = self._read(key, f"reading record {name}")
        return None if data is None else record_from_bytes(name, data, where=self.uri)

    def list_records(self, prefix: str) -> list[str]:
        """Return the sorted names of all records that start with the prefix."""
        with self._errors(f"listing records {prefix}"):
            objects = self._client.list_objects(
                self._bucket, prefix=self._record_key(prefix), recursive=True
            )
            start = len(self._record_key(""))
            return sorted((found.object_name or "")[start:] for found in objects)

    def _key(self, digest: str, name: str) -> str:
        return f"{self._prefix}artifacts/{digest_hex(digest)}/{name}"

    def _record_key(self, name: str) -> str:
        return f"{self._prefix}records/{name}"

    def _errors(self, action: str) -> AbstractContextManager[None]:
        return s3_errors(action, self.uri, self._endpoint)

    def _sizes(self, digest: str) -> dict[str, int]:
        start = self._key(digest, "")
        objects = self._client.list_objects(self._bucket, prefix=start, recursive=True)
        return {(found.object_name or "")[len(start) :]: found.size or 0 for found in objects}

    def _upload(self, digest: str, name: str, path: Path, entry: FileEntry) -> None:
        self._client.fput_object(
            self._bucket, self._key(digest, name), str(path), part_size=self._part_bytes
        )
        if hash_file(path) != entry:
            message = f"artifact {digest}: file {name} in {path.parent} changed during its upload"
            raise ArtifactError(message)

    def _download(self, digest: str, folder: Path) -> None:
        manifest = self.manifest(digest)
        with staged_folder(self._cache / "staging") as staged:
            filled = staged / "artifact"
            for name in manifest.files:
                with self._errors(f"fetching artifact {digest}, file {name}"):
                    self._download_file(digest, name, filled / name)
            (filled / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
            try:
                verify_folder(filled, digest)
            except ArtifactError as error:
                message = f"{error}, as downloaded from {self.uri}"
                raise ArtifactError(message) from error
            publish_folder(filled, folder)

    def _download_file(self, digest: str, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._client.fget_object(self._bucket, self._key(digest, name), str(path))
        except S3Error as error:
            if error.code not in _ABSENT:
                raise
            message = f"artifact {digest}: file {name} is missing in the store {self.uri}"
            raise ArtifactError(message) from error

    def _discard(self, folder: Path) -> None:
        with staged_folder(self._cache / "staging") as staged:
            folder.rename(staged / "damaged")

    def _read(self, key: str, action: str) -> bytes | None:
        with self._errors(action):
            try:
                response = self._client.get_object(self._bucket, key)
            except S3Error as error:
                if error.code in _ABSENT:
                    return None
                raise
            try:
                return bytes(response.data)
            finally:
                response.close()
                response.release_conn()

    def _create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; a conflict of two writers is tried again.

        A lost answer is not tried again: the second try would find the first one's object.
        """
        url = self._client.get_presigned_url("PUT", self._bucket, key, expires=_PRESIGNED_FOR)
        for _ in range(_CONFLICT_ATTEMPTS):
            response = self._http.request(
                "PUT", url, body=data, headers={"If-None-Match": "*"}, retries=False
            )
            if response.status == HTTPStatus.OK:
                return True
            if response.status == HTTPStatus.PRECONDITION_FAILED:
                return False
            if response.status != HTTPStatus.CONFLICT:
                break
        message = f"writing s3://{self._bucket}/{key}: the server answered {response.status}"
        raise StoreError(message)

    def _require_conditional_writes(self) -> None:
        if self._is_conditional is None:
            key = f"{self._prefix}probe/{uuid.uuid4().hex}"
            try:
                self._is_conditional = self._create(key, b"1") and not self._create(key, b"2")
            finally:
                self._client.remove_object(self._bucket, key)
        if not self._is_conditional:
            message = (
                f"{self.uri} at {self._endpoint} ignores If-None-Match, so that a record cannot be"
                " claimed by one writer; expected an S3 server with conditional writes"
            )
            raise StoreError(message)
