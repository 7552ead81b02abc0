"""Which release is served: named ones are found, absent ones refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.release_source import ReleaseSource, find_release
from worldloom.errors import ArtifactError, ServingError
from worldloom.store import ArtifactStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


def put(store: ArtifactStore, folder: Path, kind: str) -> str:
    folder.mkdir(parents=True)
    (folder / "release.json").write_text("{}")
    return store.put(folder, kind=kind, config={}, parents={})


def test_release_is_found_by_digest(store: ArtifactStore, tmp_path: Path) -> None:
    digest = put(store, tmp_path / "work", "release")
    source = find_release(digest, store)
    assert source.digest == digest
    assert (source.folder / "release.json").read_text() == "{}"


def test_release_is_found_by_folder(store: ArtifactStore, tmp_path: Path) -> None:
    assert find_release(str(tmp_path), store) == ReleaseSource(tmp_path)


def test_absent_champion_is_one_sentence(store: ArtifactStore) -> None:
    with pytest.raises(ServingError, match="has no champion yet: worldloom pipeline run"):
        find_release("", store)


def test_unknown_names_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="'latest' is neither a digest"):
        find_release("latest", store)
    with pytest.raises(ArtifactError):
        find_release("sha256:" + "0" * 64, store)
    clips = put(store, tmp_path / "clips", "clips")
    with pytest.raises(ArtifactError, match="expected 'release'"):
        find_release(clips, store)
