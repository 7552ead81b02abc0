from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.inference.fetch_release import fetch_release, main, store_of
from services.inference.repository import RepositoryConfig
from worldloom.artifacts import digest_hex, verify_folder
from worldloom.errors import ArtifactError
from worldloom.store import FolderStore

HEX = "a" * 64


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take back what the program's logging set-up changed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "the store")


@pytest.fixture
def digest(tmp_path: Path, store: FolderStore) -> str:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "release.json").write_text("{}")
    (folder / "transformer.safetensors").write_bytes(b"weights")
    return store.put(folder, kind="release", config={}, parents={})


def address(store: FolderStore, digest: str) -> str:
    return f"{store.uri}/artifacts/{digest_hex(digest)}"


def test_store_is_what_stands_before_the_artifact() -> None:
    uri = f"s3://bucket/some/prefix/artifacts/{HEX}"
    assert store_of(uri, f"sha256:{HEX}") == "s3://bucket/some/prefix"


@pytest.mark.parametrize(
    "uri", [f"s3://bucket/artifacts/{'b' * 64}", f"s3://bucket/{HEX}", "s3://bucket"]
)
def test_an_address_of_another_artifact_is_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="expected an address that ends in"):
        store_of(uri, f"sha256:{HEX}")


def test_repository_serves_the_verified_release(tmp_path, store, digest) -> None:
    home = tmp_path / "home"
    config = RepositoryConfig(num_threads=3)
    repository = fetch_release(address(store, digest), digest, home, config)
    assert repository == home / "model_repository"
    text = (repository / "world" / "config.pbtxt").read_text()
    assert digest in text
    assert '"num_threads" value { string_value: "3" }' in text
    assert verify_folder(repository / "world" / "1" / "release", digest).kind == "release"


def test_a_second_start_of_the_pod_finds_everything_in_place(tmp_path, store, digest) -> None:
    for _ in range(2):
        fetch_release(address(store, digest), digest, tmp_path / "home", RepositoryConfig())


def test_a_flipped_byte_keeps_the_pod_from_serving(tmp_path, store, digest, capsys) -> None:
    weights = store.folder_of(digest) / "transformer.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"Weights")
    code = main(
        ["--release", address(store, digest), "--digest", digest, "--home", str(tmp_path / "home")]
    )
    assert code == ArtifactError.exit_code
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert "transformer.safetensors is damaged" in line["message"]
    assert not (tmp_path / "home" / "model_repository").exists()


def test_only_releases_are_served(tmp_path, store) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "clip.bin").write_bytes(b"frames")
    clips = store.put(folder, kind="clips", config={}, parents={})
    with pytest.raises(ArtifactError, match="'release'"):
        fetch_release(address(store, clips), clips, tmp_path / "home", RepositoryConfig())


def test_a_mistyped_engine_setting_is_refused_by_name(tmp_path, store, digest, capsys) -> None:
    arguments = ["--release", address(store, digest), "--digest", digest, "--home", str(tmp_path)]
    code = main([*arguments, "--config", '{"engine": {"num_slot": 2}}'])
    assert code == 2
    assert "num_slot" in capsys.readouterr().err


def test_the_command_says_what_it_made(tmp_path, store, digest, capsys) -> None:
    arguments = ["--release", address(store, digest), "--digest", digest, "--home", str(tmp_path)]
    assert main(arguments) == 0
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["event"] == "release_ready"
    assert line["digest"] == digest
