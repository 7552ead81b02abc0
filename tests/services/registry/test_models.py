"""The address under which a release is registered."""

from __future__ import annotations

from pathlib import Path

from services.registry.models import artifact_source
from worldloom.store import FolderStore


def test_a_folder_store_gets_a_scheme_of_its_own_and_no_links(tmp_path: Path) -> None:
    (tmp_path / "real store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real store")
    digest = "sha256:" + "a" * 64
    source = artifact_source(FolderStore(tmp_path / "link"), digest)
    assert source == f"worldloom-store://{tmp_path}/real%20store/artifacts/{'a' * 64}"
