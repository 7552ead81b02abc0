"""A store in a folder: `artifacts/<hex>/`, `records/<name>` and `staging/` beside them.

An artifact is copied into `staging/`, flushed, given its manifest last and then renamed, so that
it exists whole or not at all. `fetch` hashes every file each time: the files are small, and a
byte that flipped without touching size or time must be found. It does not know what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worldloom.artifacts import (
    MANIFEST_NAME,
    ArtifactKind,
    Manifest,
    build_manifest,
    check_kind,
    digest_hex,
    read_manifest,
    verify_folder,
)
from worldloom.errors import ArtifactError
from worldloom.store.disk import (
    Disk,
    disk_errors,
    publish_folder,
    staged_folder,
    write_atomically,
)
from worldloom.store.protocol import Record, check_record_name, record_from_bytes, record_to_bytes

_READ_ONLY = 0o444


class FolderStore:
    """Artifacts and records under one folder of a local or shared disk."""

    def __init__(self, root: Path, *, disk: Disk | None = None) -> None:
        """Use `root`, which is made at the first write.

        Args:
            root: the store's folder.
            disk: how files are written; a test gives one that fails.
        """
        self.root = root.absolute()
        self._disk = disk or Disk()
        self._staging = self.root / "staging"
        self._records = self.root / "records"

    @property
    def uri(self) -> str:
        """Address that opens this store again."""
        return str(self.root)

    def folder_of(self, digest: str) -> Path:
        """Return where an artifact is, or would be."""
        return self.root / "artifacts" / digest_hex(digest)

    def put(
        self,
        folder: Path,
        *,
        kind: ArtifactKind,
        config: Mapping[str, object],
        parents: Mapping[str, str],
    ) -> str:
        """Store a folder's files and return the artifact's digest."""
        manifest = build_manifest(folder, kind=kind, config=config, parents=parents)
        final = self.folder_of(manifest.digest)
        if self._is_whole(manifest.digest):
            return manifest.digest
        with (
            disk_errors(f"storing artifact {manifest.digest} ({kind})", self.root),
            staged_folder(self._staging) as staged,
        ):
            filled = staged / "artifact"
            self._fill(filled, folder, manifest)
            if final.exists() and not self._is_whole(manifest.digest):
                final.rename(staged / "damaged")
            if not publish_folder(filled, final):
                verify_folder(final, manifest.digest)
        return manifest.digest

    def fetch(self, digest: str, *, kind: ArtifactKind | None = None) -> Path:
        """Return the artifact's folder in the store, verified; its files are read-only."""
        folder = self.folder_of(digest)
        with disk_errors(f"reading artifact {digest}", self.root):
            if not folder.exists():
                message = f"artifact {digest}: not in the store {self.root}"
                raise ArtifactError(message)
            check_kind(digest, verify_folder(folder, digest), kind)
        return folder

    def has(self, digest: str) -> bool:
        """Tell whether the artifact is here; a folder without its manifest is damage."""
        folder = self.folder_of(digest)
        with disk_errors(f"reading artifact {digest}", self.root):
            if not folder.exists():
                return False
            read_manifest(folder, digest)
        return True

    def manifest(self, digest: str) -> Manifest:
        """Return an artifact's manifest, checked against the digest."""
        with disk_errors(f"reading artifact {digest}", self.root):
            return read_manifest(self.folder_of(digest), digest)

    def put_record(
        self, name: str, value: Mapping[str, object], *, if_absent: bool = False
    ) -> bool:
        """Write a record atomically; with `if_absent` only the first writer gets True."""
        path = self._records / check_record_name(name)
        data = record_to_bytes(name, value)
        with disk_errors(f"writing record {name}", self.root):
            return write_atomically(self._disk, path, data, if_absent=if_absent)

    def get_record(self, name: str) -> Record | None:
        """Return a record, or None where there is none."""
        path = self._records / check_record_name(name)
        with disk_errors(f"reading record {name}", self.root):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return record_from_bytes(name, data, where=str(path))

    def list_records(self, prefix: str) -> list[str]:
        """Return the sorted names of all records that start with the prefix."""
        with disk_errors(f"listing records {prefix}", self.root):
            names = (
                path.relative_to(self._records).as_posix()
                for path in self._records.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            )
            return sorted(name for name in names if name.startswith(prefix))

    def _is_whole(self, digest: str) -> bool:
        folder = self.folder_of(digest)
        if not folder.exists():
            return False
        try:
            verify_folder(folder, digest)
        except ArtifactError:
            return False
        return True

    def _fill(self, target: Path, source: Path, manifest: Manifest) -> None:
        target.mkdir()
        for name in manifest.files:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._disk.copy(source / name, path)
            path.chmod(_READ_ONLY)
        self._disk.write(target / MANIFEST_NAME, manifest.to_json().encode())
        (target / MANIFEST_NAME).chmod(_READ_ONLY)
        verify_folder(target, manifest.digest)
