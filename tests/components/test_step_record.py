"""The step's key and the records under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.step_record import (
    StepRecord,
    latest_name,
    mark_latest,
    read_latest_record,
    read_step_record,
    record_name,
    resolved_json,
    step_key,
    write_step_record,
)
from worldloom.config import Config
from worldloom.errors import ConfigError
from worldloom.store import FolderStore

PARENTS = {"clips": "sha256:" + "1" * 64}


class ToyConfig(Config):
    rate: float = 0.5
    size: int = 3


def make_record(key: str = "a" * 64, seconds: float = 1.5) -> StepRecord:
    return StepRecord(
        step="toy",
        key=key,
        config={"rate": 0.5, "inner": {"size": 3}},
        parents=PARENTS,
        code="sha256:" + "2" * 64,
        code_files={"components/toy.py": "3" * 64},
        outputs={"weights": "sha256:" + "4" * 64, "verdict": "pass"},
        seconds=seconds,
        started="2026-01-01T00:00:00+00:00",
        provenance={"machine": "x86_64", "cpu_count": 2},
    )


def test_key_is_a_file_name_and_depends_on_each_part() -> None:
    base = step_key("toy", "code", '{"a": 1}', PARENTS)
    assert len(base) == 64
    assert base.isalnum()
    assert base == step_key("toy", "code", '{\n "a":1}', dict(PARENTS))
    others = {
        step_key("toys", "code", '{"a": 1}', PARENTS),
        step_key("toy", "codes", '{"a": 1}', PARENTS),
        step_key("toy", "code", '{"a": 2}', PARENTS),
        step_key("toy", "code", '{"a": 1}', {"video": PARENTS["clips"]}),
        step_key("toy", "code", '{"a": 1}', {"clips": ""}),
        step_key("toy", "code", '{"a": 1}', {}),
    }
    assert len(others | {base}) == 7


def test_key_is_stable_across_versions() -> None:
    key = step_key("toy", "sha256:" + "0" * 64, "{}", {})
    assert key == "0f6aaf1568d766984ebec1093cfa7bd0b6f4375549e48d486ee9ce672f692c6e"


def test_resolved_json_fills_in_defaults() -> None:
    assert resolved_json(ToyConfig(size=4)) == '{"rate":0.5,"size":4}'


def test_written_record_is_read_again_and_is_the_latest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert read_latest_record(store, "toy") is None
    assert read_step_record(store, "a" * 64) is None
    record = make_record()
    write_step_record(store, record)
    assert read_step_record(store, record.key) == record
    assert read_latest_record(store, "toy") == record
    assert store.list_records("") == [latest_name("toy"), record_name(record.key)]


def test_latest_moves_back_to_a_reused_record(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first, second = make_record(), make_record("b" * 64)
    write_step_record(store, first)
    write_step_record(store, second)
    assert read_latest_record(store, "toy") == second
    mark_latest(store, first)
    assert read_latest_record(store, "toy") == first


def test_record_of_another_layout_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_record(record_name("a" * 64), {"step": "toy"})
    with pytest.raises(ConfigError, match="steps/aaaa"):
        read_step_record(store, "a" * 64)
