"""Starter weights enter a run by their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.definition import find_pipeline
from pipelines.starter import default_starter_folder, starter_values
from worldloom.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("vae/vae", "base/transformer", "student/transformer"):
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir()
        path.write_text(name)
    return tmp_path


def test_each_task_is_given_the_digest_of_its_part(folder: Path) -> None:
    values = starter_values(find_pipeline("world_model"), folder)
    assert set(values) == {"train_vae", "train_transformer", "distil_student"}
    digest = hashlib.sha256(b"vae/vae").hexdigest()
    assert values["train_vae"] == {"starter": f"sha256:{digest}"}


def test_pipelines_that_train_nothing_need_none(tmp_path: Path) -> None:
    assert starter_values(find_pipeline("evaluation_only"), tmp_path) == {}


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "base" / "transformer.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"base/transformer.safetensors: .* or --from-scratch"):
        starter_values(find_pipeline("world_model"), folder)


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLDLOOM_STARTER", str(tmp_path))
    assert default_starter_folder() == tmp_path
