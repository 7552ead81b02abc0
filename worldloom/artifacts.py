"""Artifacts: folders whose digest says what they hold and what they came from.

An artifact is a folder with a `manifest.json`. Its digest covers the kind, the schema version,
every file, the parents' digests and the resolved config, and nothing else: who made it, when, on
what machine and from which commit is provenance and lives in a record of its own, so that the same
work gives the same digest anywhere. This module knows neither where artifacts are stored nor what
the files mean.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, ValidationError

from worldloom.config import Config, canonical_json, digest_of
from worldloom.errors import ArtifactError

ArtifactKind = Literal[
    "clips",
    "latents",
    "vae-checkpoint",
    "base-checkpoint",
    "student-checkpoint",
    "decoder-checkpoint",
    "quantized-checkpoint",
    "release",
    "evaluation-report",
]
ARTIFACT_KINDS: tuple[str, ...] = get_args(ArtifactKind)
SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


def is_digest(text: str) -> bool:
    """Tell whether a text has the form of an artifact's digest."""
    return _DIGEST.fullmatch(text) is not None


def digest_hex(digest: str) -> str:
    """Return the 64 hexadecimal digits of a digest, which are safe as a file's name.

    Raises:
        ArtifactError: if the text is no digest.
    """
    if not is_digest(digest):
        message = f"artifact digest {digest!r}: expected sha256: and 64 hexadecimal digits"
        raise ArtifactError(message)
    return digest.removeprefix("sha256:")


def _safe_relative_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or str(path) != text or text in {".", ""}:
        message = "expected a relative path inside the artifact"
        raise ValueError(message)
    if text == MANIFEST_NAME:
        message = "the manifest does not list itself"
        raise ValueError(message)
    return text


RelativePath = Annotated[str, AfterValidator(_safe_relative_path)]


class FileEntry(Config):
    """One file of an artifact."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the file's bytes, hexadecimal"
    )
    size_bytes: int = Field(ge=0, description="length of the file in bytes")


class Manifest(Config):
    """What an artifact is; the digest of its canonical JSON is the artifact's name."""

    schema_version: Literal[1] = Field(description="version of this manifest's own layout")
    kind: ArtifactKind = Field(description="what the files are")
    config: dict[str, JsonValue] = Field(description="resolved config of the step that made it")
    parents: dict[str, Digest] = Field(description="digest of each input artifact by role")
    files: dict[RelativePath, FileEntry] = Field(description="every file by relative path")

    @property
    def digest(self) -> str:
        """Return `sha256:<hex>` over everything the manifest says."""
        return digest_of(self.model_dump(mode="json"))

    def to_json(self) -> str:
        """Return the manifest's canonical text, the content of `manifest.json`."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files together."""
        return sum(entry.size_bytes for entry in self.files.values())


def build_manifest(
    folder: Path,
    *,
    kind: ArtifactKind,
    config: Mapping[str, object],
    parents: Mapping[str, str],
) -> Manifest:
    """Hash every file of a folder into a manifest; a `manifest.json` in it must agree.

    Raises:
        ArtifactError: for an empty folder, a link, or a value that a manifest cannot hold.
    """
    files = {name: hash_file(path) for name, path in _files_of(folder).items()}
    stated = files.pop(MANIFEST_NAME, None)
    if not files:
        message = f"artifact folder {folder} of kind {kind!r}: no files, expected at least one"
        raise ArtifactError(message)
    try:
        manifest = Manifest.model_validate(
            {
                "schema_version": SCHEMA_VERSION,
                "kind": kind,
                "config": dict(config),
                "parents": dict(parents),
                "files": files,
            }
        )
    except ValidationError as error:
        message = f"artifact folder {folder} of kind {kind!r}: {_first_mistake(error)}"
        raise ArtifactError(message) from error
    if stated is not None and read_manifest(folder).digest != manifest.digest:
        message = (
            f"artifact folder {folder}: its {MANIFEST_NAME} describes other content, expected none"
            f" or that of {manifest.digest}"
        )
        raise ArtifactError(message)
    return manifest


def read_manifest(folder: Path, digest: str = "") -> Manifest:
    """Read a folder's manifest, checked against a digest where one is given.

    Raises:
        ArtifactError: if it is missing, not a manifest, or of another digest.
    """
    path = folder / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"artifact {digest or folder}: {MANIFEST_NAME} is missing, expected at {path}"
        raise ArtifactError(message) from error
    except UnicodeDecodeError as error:
        message = f"artifact {digest or folder}: {MANIFEST_NAME} is damaged, expected UTF-8 text"
        raise ArtifactError(message) from error
    return parse_manifest(text, digest=digest, where=str(path))


def parse_manifest(text: str, *, digest: str = "", where: str = MANIFEST_NAME) -> Manifest:
    """Parse a manifest's text, checked against a digest where one is given.

    Raises:
        ArtifactError: naming the digest and the place.
    """
    try:
        manifest = Manifest.model_validate(json.loads(text))
    except ValidationError as error:
        message = f"artifact {digest or where}: {where} is damaged ({_first_mistake(error)})"
        raise ArtifactError(message) from error
    except json.JSONDecodeError as error:
        message = f"artifact {digest or where}: {where} is damaged (not JSON: {error})"
        raise ArtifactError(message) from error
    if digest and manifest.digest != digest:
        message = f"artifact {digest}: {where} is damaged (its content has {manifest.digest})"
        raise ArtifactError(message)
    return manifest


def verify_folder(folder: Path, digest: str) -> Manifest:
    """Check that a folder is exactly the artifact of that digest and return its manifest.

    Raises:
        ArtifactError: naming the digest and the first file that is missing, changed or extra.
    """
    manifest = read_manifest(folder, digest)
    present = _files_of(folder)
    del present[MANIFEST_NAME]
    for name, entry in manifest.files.items():
        path = present.pop(name, None)
        if path is None:
            message = f"artifact {digest}: file {name} is missing in {folder}"
            raise ArtifactError(message)
        actual = hash_file(path)
        if actual != entry:
            message = (
                f"artifact {digest}: file {name} is damaged in {folder} (sha256 {actual.sha256},"
                f" {actual.size_bytes} bytes; expected {entry.sha256}, {entry.size_bytes} bytes)"
            )
            raise ArtifactError(message)
    if present:
        message = f"artifact {digest}: file {min(present)} in {folder} is not in its manifest"
        raise ArtifactError(message)
    return manifest


def check_kind(digest: str, manifest: Manifest, kind: ArtifactKind | None) -> None:
    """Refuse an artifact of another kind than asked for; `None` asks for any.

    Raises:
        ArtifactError: naming both kinds.
    """
    if kind is not None and manifest.kind != kind:
        message = f"artifact {digest}: its kind is {manifest.kind!r}, expected {kind!r}"
        raise ArtifactError(message)


def hash_file(path: Path) -> FileEntry:
    """Return the hash and size of one file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=sha256, size_bytes=file.tell())


def _files_of(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        message = f"artifact folder {folder}: no such folder"
        raise ArtifactError(message)
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            message = f"artifact folder {folder}: {name} is a link or device, expected plain files"
            raise ArtifactError(message)
        if path.is_file():
            files[name] = path
    return files


def _first_mistake(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
