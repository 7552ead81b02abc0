"""`worldloom bench`: figures are shown and written, and a missed bar is one sentence and exit 1."""

from __future__ import annotations

import json

import pytest
import torch

from cli.main import run_command
from worldloom.bench import memory
from worldloom.bench.record import Bar, BenchReport, measured, this_machine


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the measurement: each speed-up asked for is what the test sets."""
    asked = {"speedup": 60.0}

    def fake(config, device, command):
        asked["config"], asked["device"], asked["command"] = config, device, command
        return BenchReport(
            title="Memory retrieval",
            command=command,
            notes=(),
            machine=this_machine(device),
            measurements=(measured("query", "s", [0.001, 0.002]),),
            bars=(
                Bar(name="speed-up", value=asked["speedup"], limit=50.0, sense="at least"),
                Bar(name="growth", value=1.0, limit=1.2, sense="at most"),
            ),
        )

    monkeypatch.setattr(memory, "measure_memory", fake)
    return asked


def test_options_reach_the_measurement_and_the_command_repeats_it(asked, tmp_path, capsys):
    arguments = ["--trajectories", "7", "--samples", "5", "--hull-samples", "2", "--seed", "3"]
    folder = str(tmp_path / "results")
    assert run_command(["bench", "memory", *arguments, "--output-dir", folder]) == 0
    config = asked["config"]
    assert (config.num_trajectories, config.num_samples, config.seed) == (7, 5, 3)
    assert config.num_hull_samples == 2
    assert asked["device"] == torch.device("cpu")
    assert asked["command"] == f"worldloom bench memory {' '.join(arguments)} --device cpu"
    written = json.loads((tmp_path / "results" / "memory.json").read_text())
    assert written["measurements"][0]["median"] == 0.0015
    assert (tmp_path / "results" / "memory.md").read_text().startswith("# Memory retrieval")
    told = capsys.readouterr().out
    assert "query" in told
    assert "met: speed-up: 60, expected at least 50" in told


def test_a_missed_bar_is_written_and_told_in_one_sentence(asked, tmp_path, capsys):
    asked["speedup"] = 49.0
    code = run_command(["bench", "memory", "--output-dir", str(tmp_path), "--output", "json"])
    assert code == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["bars"][0]["value"] == 49.0
    assert told.err.strip().splitlines()[-1] == "worldloom: speed-up: 49, expected at least 50"
    assert (tmp_path / "memory.md").is_file()


def test_a_device_that_is_not_known_is_refused_before_measuring(asked, tmp_path, capsys):
    assert run_command(["bench", "memory", "--device", "tpu"]) == 2
    assert "expected one of cpu, cuda" in capsys.readouterr().err
    assert "config" not in asked
