"""Which release to serve: the champion, one by its digest, or a folder.

It knows the store and the audit log of the registry, neither MLflow nor a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.registry import DEFAULT_MODEL, current_champion
from services.starter_release import starter_release
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


STARTER = "starter"


def choose_release(
    reference: str, store: Callable[[], ArtifactStore], home: Path, *, model: str = DEFAULT_MODEL
) -> ReleaseSource:
    """Return what `find_release` does, and for `starter` a release of the starter weights.

    The latter is made under `home` the first time, and needs no store.
    """
    if reference == STARTER:
        folder = home / "starter-release"
        return ReleaseSource(folder, starter_release(folder))
    return find_release(reference, store(), model=model)


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
