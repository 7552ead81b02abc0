"""Model repositories: what is checked in is what is rendered, and what the contract says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.contract import INPUTS, OUTPUTS
from services.inference.engine import EngineConfig
from services.inference.repository import (
    SOURCE,
    RepositoryConfig,
    build_repository,
    release_folder,
    render_config,
    verified_digest,
)
from worldloom.artifacts import build_manifest
from worldloom.errors import ArtifactError, ServingError


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "a release"
    folder.mkdir()
    (folder / "release.json").write_text("{}")
    return folder


def sign(folder: Path) -> str:
    manifest = build_manifest(folder, kind="release", config={}, parents={})
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest.digest


def test_checked_in_configuration_is_the_default() -> None:
    checked_in = (SOURCE / "world" / "config.pbtxt").read_text()
    assert checked_in == render_config(RepositoryConfig())


def test_configuration_declares_the_contract() -> None:
    text = render_config(RepositoryConfig(instance_kind="KIND_GPU"), digest="sha256:1")
    assert "decoupled: true" in text
    assert "kind: KIND_GPU" in text
    assert 'key: "release_digest" value { string_value: "sha256:1" }' in text
    for spec in (*INPUTS, *OUTPUTS):
        assert f'name: "{spec.name}" data_type: {spec.data_type}' in text


def test_engine_limits_travel_as_json() -> None:
    text = render_config(RepositoryConfig(engine=EngineConfig(num_slots=7)))
    line = next(line for line in text.splitlines() if 'key: "engine"' in line)
    literal = line.split("string_value: ")[1].removesuffix(" } }")
    assert EngineConfig.model_validate_json(json.loads(literal)).num_slots == 7


def test_repository_links_the_release_and_can_be_built_again(tmp_path: Path, release: Path) -> None:
    for _ in range(2):
        repository = build_repository(tmp_path / "models", release, RepositoryConfig())
    model = repository / "world"
    assert (model / "1" / "model.py").read_text().count("TritonPythonModel") == 1
    assert release_folder("1/release", "", model) == release.resolve()
    assert release_folder("1/release", str(tmp_path), model) == tmp_path.resolve()


def test_repository_for_an_image_holds_a_copy(tmp_path: Path, release: Path) -> None:
    config = RepositoryConfig()
    repository = build_repository(tmp_path / "models", release, config, copy_release=True)
    copied = repository / "world" / "1" / "release"
    assert not copied.is_symlink()
    assert (copied / "release.json").exists()


def test_missing_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="nowhere does not exist"):
        build_repository(tmp_path / "models", tmp_path / "nowhere", RepositoryConfig())


def test_release_is_verified_before_it_is_loaded(release: Path) -> None:
    assert verified_digest(release, "") == ""
    digest = sign(release)
    assert verified_digest(release, "") == digest
    assert verified_digest(release, digest) == digest
    (release / "release.json").write_text("{ }")
    for expected in ("", digest):
        with pytest.raises(ArtifactError, match=r"release\.json is damaged"):
            verified_digest(release, expected)


def test_release_without_manifest_cannot_stand_for_a_digest(release: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        verified_digest(release, "sha256:" + "0" * 64)
