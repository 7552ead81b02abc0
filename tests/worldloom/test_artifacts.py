"""The artifact's digest: what it covers, what it does not, and what damage it finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldloom.artifacts import (
    MANIFEST_NAME,
    Manifest,
    build_manifest,
    check_kind,
    digest_hex,
    is_digest,
    parse_manifest,
    read_manifest,
    verify_folder,
)
from worldloom.errors import ArtifactError

PARENT = "sha256:" + "a" * 64


def make_folder(root: Path, name: str = "content") -> Path:
    folder = root / name
    (folder / "inner").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "inner" / "notes.txt").write_text("hello")
    return folder


def make_artifact(root: Path) -> tuple[Path, Manifest]:
    folder = make_folder(root)
    manifest = build_manifest(folder, kind="clips", config={"a": 1}, parents={"in": PARENT})
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return folder, manifest


def test_digest_is_the_same_for_the_same_content_elsewhere(tmp_path: Path) -> None:
    first = build_manifest(
        make_folder(tmp_path, "a"), kind="clips", config={"x": 1, "y": 2}, parents={}
    )
    second = build_manifest(
        make_folder(tmp_path, "b"), kind="clips", config={"y": 2, "x": 1}, parents={}
    )
    assert first.digest == second.digest
    assert is_digest(first.digest)
    assert set(first.files) == {"weights.bin", "inner/notes.txt"}
    assert first.size_bytes == 261


def test_digest_covers_kind_files_parents_and_config(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    base = build_manifest(folder, kind="clips", config={"x": 1}, parents={"in": PARENT})
    other_config = build_manifest(folder, kind="clips", config={"x": 2}, parents={"in": PARENT})
    other_kind = build_manifest(folder, kind="latents", config={"x": 1}, parents={"in": PARENT})
    other_parents = build_manifest(folder, kind="clips", config={"x": 1}, parents={})
    (folder / "weights.bin").rename(folder / "renamed.bin")
    other_files = build_manifest(folder, kind="clips", config={"x": 1}, parents={"in": PARENT})
    digests = {m.digest for m in (base, other_config, other_kind, other_parents, other_files)}
    assert len(digests) == 5


def test_manifest_survives_its_own_text(tmp_path: Path) -> None:
    manifest = build_manifest(
        make_folder(tmp_path), kind="clips", config={"rate": 1e-4, "list": [1, None]}, parents={}
    )
    assert parse_manifest(manifest.to_json(), digest=manifest.digest) == manifest


def test_verified_folder_returns_its_manifest(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    assert verify_folder(folder, manifest.digest) == manifest


def test_flipped_byte_is_named(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    data = bytearray((folder / "weights.bin").read_bytes())
    data[17] ^= 1
    (folder / "weights.bin").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"weights\.bin is damaged") as caught:
        verify_folder(folder, manifest.digest)
    assert manifest.digest in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    (folder / "inner" / "notes.txt").unlink()
    with pytest.raises(ArtifactError, match=r"inner/notes\.txt is missing"):
        verify_folder(folder, manifest.digest)


def test_extra_file_is_named(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    (folder / "stray.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"stray\.txt .* is not in its manifest"):
        verify_folder(folder, manifest.digest)


def test_missing_manifest_is_named_with_the_digest(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing") as caught:
        verify_folder(folder, manifest.digest)
    assert manifest.digest in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"kind": "clips"}', b"\xff"])
def test_damaged_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    folder, manifest = make_artifact(tmp_path)
    (folder / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        verify_folder(folder, manifest.digest)


def test_manifest_of_another_artifact_is_refused(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    value = json.loads(manifest.to_json())
    value["config"]["a"] = 2
    (folder / MANIFEST_NAME).write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match="its content has sha256:"):
        read_manifest(folder, manifest.digest)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "manifest.json", "a//b"])
def test_manifest_cannot_name_a_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    _, manifest = make_artifact(tmp_path)
    value = json.loads(manifest.to_json())
    value["files"][name] = {"sha256": "0" * 64, "size_bytes": 0}
    with pytest.raises(ArtifactError, match="is damaged"):
        parse_manifest(json.dumps(value))


def test_empty_folder_and_links_are_no_artifact(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ArtifactError, match="no files"):
        build_manifest(empty, kind="clips", config={}, parents={})
    (empty / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="link"):
        build_manifest(empty, kind="clips", config={}, parents={})
    with pytest.raises(ArtifactError, match="no such folder"):
        build_manifest(tmp_path / "absent", kind="clips", config={}, parents={})


def test_config_that_is_no_json_and_parent_that_is_no_digest_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    with pytest.raises(ArtifactError, match=r"config\.x"):
        build_manifest(folder, kind="clips", config={"x": object()}, parents={})
    with pytest.raises(ArtifactError, match=r"parents\.clips"):
        build_manifest(folder, kind="clips", config={}, parents={"clips": "latest"})


def test_manifest_in_the_source_folder_must_agree(tmp_path: Path) -> None:
    folder, manifest = make_artifact(tmp_path)
    again = build_manifest(folder, kind="clips", config={"a": 1}, parents={"in": PARENT})
    assert again == manifest
    with pytest.raises(ArtifactError, match="describes other content"):
        build_manifest(folder, kind="clips", config={"a": 2}, parents={"in": PARENT})


def test_kind_is_checked_where_one_is_asked_for(tmp_path: Path) -> None:
    _, manifest = make_artifact(tmp_path)
    check_kind(manifest.digest, manifest, None)
    check_kind(manifest.digest, manifest, "clips")
    with pytest.raises(ArtifactError, match="kind is 'clips', expected 'release'"):
        check_kind(manifest.digest, manifest, "release")


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, "a" * 64, PARENT + "\n"])
def test_other_texts_are_no_digest(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(ArtifactError, match="expected sha256:"):
        digest_hex(text)
