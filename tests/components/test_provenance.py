"""Provenance: what the environment says comes first, what is unknown is None."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from components.provenance import provenance, source_commit


@pytest.fixture(autouse=True)
def fresh_commit() -> Iterator[None]:
    source_commit.cache_clear()
    yield
    source_commit.cache_clear()


def test_the_environment_names_run_image_and_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLOOM_RUN_ID", "run-1")
    monkeypatch.setenv("WORLDLOOM_IMAGE_DIGEST", "sha256:1")
    monkeypatch.setenv("WORLDLOOM_COMMIT", "abc")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = provenance(tracking_run_id="track-1")
    names = ("pipeline_run_id", "image_digest", "commit", "threads", "tracking_run_id")
    assert [found[name] for name in names] == ["run-1", "sha256:1", "abc", "2", "track-1"]


def test_the_unknown_is_none_and_all_of_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLDLOOM_RUN_ID", "WORLDLOOM_IMAGE_DIGEST"):
        monkeypatch.delenv(name, raising=False)
    found = provenance(tracking_run_id="")
    assert found["pipeline_run_id"] is found["image_digest"] is found["tracking_run_id"] is None
    assert found["torch"]
    assert json.loads(json.dumps(found)) == found


def test_without_git_and_without_a_word_the_commit_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WORLDLOOM_COMMIT", raising=False)
    monkeypatch.setenv("PATH", "")
    assert source_commit() is None
