"""Which release to serve: the champion, one by its digest, or a folder.

It knows the store and the audit log of the registry, neither MLflow nor a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.registry import DEFAULT_MODEL, current_champion
from worldloom.artifacts import is_digest
from worldloom.errors import ServingError
from worldloom.store import ArtifactStore


@dataclass(frozen=True)
class ReleaseSource:
    """A release on this machine.

    Attributes:
        folder: where its files are.
        digest: what it must be; empty for a folder that nobody vouches for.
        version: the champion's version in the registry; empty for another release.
    """

    folder: Path
    digest: str = ""
    version: str = ""


def find_release(
    reference: str, store: ArtifactStore, *, model: str = DEFAULT_MODEL
) -> ReleaseSource:
    """Return the release that a digest or folder names; without a name, the champion.

    Raises:
        ServingError: when there is no champion, or the name is neither a digest nor a folder.
        ArtifactError: when the store does not have the release or its files are damaged.
    """
    if not reference:
        champion = current_champion(store, model)
        if champion is None:
            message = f"model {model} has no champion yet: worldloom pipeline run makes one"
            raise ServingError(message)
        folder = store.fetch(champion.release, kind="release")
        return ReleaseSource(folder, champion.release, champion.version)
    if is_digest(reference):
        return ReleaseSource(store.fetch(reference, kind="release"), reference)
    if Path(reference).is_dir():
        return ReleaseSource(Path(reference))
    message = f"release {reference!r} is neither a digest (sha256:...) nor a folder"
    raise ServingError(message)
