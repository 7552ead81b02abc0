"""`worldloom pipeline schedule` on a home of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import run_command


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path))
    monkeypatch.delenv("WORLDLOOM_STORE", raising=False)
    return tmp_path


def test_add_list_show_for_the_cluster_and_remove(capsys: pytest.CaptureFixture[str]) -> None:
    add = ["add", "nightly", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]
    assert run_command(["pipeline", "schedule", *add]) == 0
    told = capsys.readouterr()
    assert "next: worldloom pipeline schedule run" in told.out

    assert run_command(["pipeline", "schedule", "list", "--output", "json"]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert (row["name"], row["timezone"], row["outcome"]) == ("nightly", "Europe/Berlin", None)
    assert "next: " in told.err

    assert run_command(["pipeline", "schedule", "submit", "nightly", "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["cron_expression"] for row in rows} == {"0 30 1 * * *", "0 30 0 * * *"}

    assert run_command(["pipeline", "schedule", "remove", "nightly"]) == 0
    capsys.readouterr()
    assert run_command(["pipeline", "schedule", "list", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_trigger_with_nothing_new_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pipeline", "trigger", "--dry-run", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
