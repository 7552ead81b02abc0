"""Starter weights: taken only when they are those that the config names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from components.starter import STARTER_VARIABLE, starter_folder
from worldloom.errors import ArtifactError

WEIGHTS = "transformer.safetensors"
DIGEST = "sha256:" + hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / WEIGHTS).write_bytes(b"weights")
    monkeypatch.setenv(STARTER_VARIABLE, str(tmp_path))
    return tmp_path


def test_the_right_weights_are_found_wherever_they_lie(starter: Path) -> None:
    assert starter_folder("base", WEIGHTS, DIGEST) == starter / "base"


def test_changed_weights_are_refused(starter: Path) -> None:
    (starter / "base" / WEIGHTS).write_bytes(b"weighty")
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: its digest is .*, expected {DIGEST}"):
        starter_folder("base", WEIGHTS, DIGEST)


def test_missing_weights_are_named(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=f"no student/{WEIGHTS} there"):
        starter_folder("student", WEIGHTS, DIGEST)
    monkeypatch.delenv(STARTER_VARIABLE)
    with pytest.raises(ArtifactError, match=f"{STARTER_VARIABLE}='': no base/{WEIGHTS} there"):
        starter_folder("base", WEIGHTS, DIGEST)
