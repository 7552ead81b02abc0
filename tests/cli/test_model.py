"""`worldloom model`: presets are listed and described, and an unknown one is refused."""

from __future__ import annotations

import json

import pytest

from cli.main import run_command
from worldloom.presets import PRESETS


def test_every_preset_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "list", "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert rows[0]["segment_frames"] == 12


def test_a_preset_is_described_by_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "nano-stream", "--output", "json"]) == 0
    told = capsys.readouterr()
    fields = json.loads(told.out)
    parameters = fields["parameters"]
    assert parameters["total"] == sum(parameters[part] for part in ("core", "camera", "action"))
    assert fields["weight_bytes"] == 4 * parameters["total"]
    assert "next: worldloom pipeline run" in told.err


def test_a_table_has_a_line_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "nano-stream"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("parameters.camera") for line in lines)
    assert lines[-1].startswith("next: ")


def test_an_unknown_preset_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "nano"]) == 2
    told = capsys.readouterr().err
    assert "preset 'nano': not known, expected one of nano-stream" in told
    assert len(told.strip().splitlines()) == 1
