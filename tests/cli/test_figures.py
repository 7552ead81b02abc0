from __future__ import annotations

import json

import pytest

from cli import figures
from worldloom.errors import DataError

SUMMARY = {
    "run_id": "2026",
    "machine": {"processor": "two cores", "memory_gib": 8},
    "total_seconds": 60.0,
    "pipeline_seconds": 30.0,
    "frames": 240,
    "first_frame_seconds": 0.4321,
    "frames_per_second": 12.34,
    "control": {"yaw_sign_accuracy": 0.951, "noise_divergence": 2.0},
    "metrics": {"psnr_db": 21.018, "copy_last_frame_psnr_db": 19.9},
    "training": {"base": {"held_out_loss_before": 0.71, "held_out_loss_after": 0.70125}},
    "walks": {"procedural": {"psnr_db": 20.456}},
    "mlflow_command": "a command with a path of this machine",
}


def test_text_of_this_machine_is_left_behind() -> None:
    assert "mlflow_command" not in figures.kept_figures(SUMMARY)


@pytest.mark.parametrize("missing", ["total_seconds", "control", "frames"])
def test_another_file_is_refused(missing: str) -> None:
    with pytest.raises(DataError, match="not a demo's summary"):
        figures.kept_figures({key: value for key, value in SUMMARY.items() if key != missing})


def test_rows_name_value_unit_and_command() -> None:
    table = figures.table_text({"first": figures.kept_figures(SUMMARY)})
    assert "| whole path, environment in place | 60 s | `make demo` |" in table
    assert "| action sent to first frame | 0.43 s | `make demo` |" in table
    assert "| sign of yaw right, unseen worlds | 95.1% |" in table
    assert "| PSNR, unseen worlds | 21.02 dB |" in table
    assert "| the same after it | 0.7013 | `make demo` |" in table
    assert "| PSNR of the procedural walk | 20.46 dB | `make demo` |" in table
    assert "nothing changed" not in table
    assert "processor two cores, memory gib 8" in table


def test_command_fills_the_readme(tmp_path, monkeypatch) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "docs" / "demo.json"
    readme.write_text(f"# Worldloom\n{figures.START}\nold\n{figures.END}\nend\n")
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps(SUMMARY))
    monkeypatch.setattr(figures, "README", readme)
    monkeypatch.setattr(figures, "RESULTS", results)
    figures.main([str(summary), str(summary)])
    text = readme.read_text()
    assert "old" not in text
    assert "| whole path, nothing changed | 60 s |" in text
    assert text.endswith("end\n")
    assert set(json.loads(results.read_text())) == {"first", "again"}
    figures.main([])
    assert readme.read_text() == text


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(DataError, match="the page lacks"):
        figures.between("# nothing", "table")
