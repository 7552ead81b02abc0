"""`worldloom experiment`: what it lists, what it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from cli.experiment import by_arm
from cli.main import run_command
from worldloom.errors import ConfigError

SMALL = [
    'paths=["return"]', "num_cases=1", "max_segments=2", "reader=null", "timed_segments=0",
    "measure.pose_stride_frames=0",
]  # fmt: skip


def test_the_list_names_every_experiment(capsys):
    assert run_command(["experiment", "list", "--output", "json"]) == 0
    listed = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"memory", "student", "quantization", "decoder", "error-buffer", "reach"} == listed


@pytest.mark.slow
def test_a_small_run_on_the_shipped_weights_writes_its_book(tmp_path, capsys):
    sets = [part for value in SMALL for part in ("--set", value)]
    folders = ["--work", str(tmp_path / "work"), "--output-dir", str(tmp_path / "docs")]
    assert run_command(["experiment", "run", "quantization", *sets, *folders, "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["command"].startswith("worldloom experiment run quantization --set paths=")
    [row] = [
        row for row in answer["rows"]
        if row["figure"] == "parity_psnr_db" and row["arm"] == "int8-all"
    ]  # fmt: skip
    assert 25 < row["value"]["mean"] < 60
    assert (tmp_path / "docs" / "quantization" / "ablation.md").is_file()
    assert packed_and_read_again(tmp_path, capsys) == answer


def packed_and_read_again(tmp_path, capsys):
    """The answer of the page that is written from packed cells, without weights."""
    packed = tmp_path / "packed"
    command = ["experiment", "pack", "quantization", "--work", str(tmp_path / "work")]
    assert run_command([*command, "--out", str(packed)]) == 0
    capsys.readouterr()
    command = ["experiment", "page", "quantization", "--packed", str(packed / "quantization-0.tar")]
    folders = ["--work", str(tmp_path / "home"), "--output-dir", str(tmp_path / "again")]
    assert run_command([*command, *folders, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_training_arms_that_need_none_is_refused(capsys):
    assert run_command(["experiment", "train", "memory"]) == 2
    assert "expected one of error-buffer, reach, student" in capsys.readouterr().err


def test_an_unknown_experiment_and_setting_are_refused(capsys):
    assert run_command(["experiment", "run", "nothing"]) == 2
    assert "expected one of memory" in capsys.readouterr().err
    assert run_command(["experiment", "run", "memory", "--set", "num_case=2"]) == 2
    assert "num_cases" in capsys.readouterr().err


def test_checkpoints_are_kept_in_order_by_arm():
    found = by_arm(["a=one", "b=two", "a=three"])
    assert {arm: [str(path) for path in paths] for arm, paths in found.items()} == {
        "a": ["one", "three"],
        "b": ["two"],
    }
    with pytest.raises(ConfigError, match="expected ARM=FOLDER"):
        by_arm(["a"])
