"""What the guard needs of a model registry, and how a release's address is written there.

MLflow's server refuses local folders as the source of a version, so a folder store's artifact gets
an address with a scheme of its own. It does not know MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from worldloom.artifacts import digest_hex
from worldloom.store.protocol import ArtifactStore

RELEASE_TAG = "release_digest"
FOLDER_SCHEME = "worldloom-store"


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model."""

    version: str
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0

    @property
    def release(self) -> str:
        """Digest of the release, empty for a version that our guard did not make."""
        return self.tags.get(RELEASE_TAG, "")


class ModelRegistry(Protocol):
    """One registered model with its versions, its alias and its tags."""

    def versions(self) -> list[ModelVersion]:
        """Return all versions, oldest first."""
        ...

    def version(self, version: str) -> ModelVersion | None:
        """Return a version, None where there is none."""
        ...

    def create_version(self, source: str, tags: Mapping[str, str]) -> ModelVersion:
        """Register a new version."""
        ...

    def alias(self, alias: str) -> str:
        """Return the version that the alias points to, empty text for none."""
        ...

    def set_alias(self, alias: str, version: str) -> None:
        """Point the alias to a version; empty text removes it."""
        ...

    def tag(self, name: str) -> str:
        """Return a tag of the registered model, empty text for none."""
        ...

    def set_tag(self, name: str, value: str) -> None:
        """Write a tag of the registered model."""
        ...


def artifact_source(store: ArtifactStore, digest: str) -> str:
    """Return an artifact's address for the registry."""
    if "://" in store.uri:
        return f"{store.uri.rstrip('/')}/artifacts/{digest_hex(digest)}"
    root = quote(str(Path(store.uri).resolve()))
    return f"{FOLDER_SCHEME}://{root}/artifacts/{digest_hex(digest)}"
