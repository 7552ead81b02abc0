"""The model card's tables: every number comes from a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cli import starter_card
from cli.starter_card import Claim, figures_table, files_table, num_parameters, training_table

LEG = {
    "name": "02-memory",
    "device": "NVIDIA H100",
    "minutes": 8.0,
    "seed": 2,
    "batch": 64,
    "num_steps": 1500,
    "clips": {"vizdoom": 7, "procedural": 9},
    "before": {"held_out_loss": 0.9, "step": 0},
    "after": {"held_out_loss": 0.7, "step": 1500},
}
PARTS = {"student": "sha256:1"}
CLAIMS = (
    Claim("memory over none", "memory", "ours", "psnr_db", is_difference=True),
    Claim("memory", "memory", "ours", "psnr_db"),
    Claim("nobody ran this", "student", "student", "psnr_db"),
)


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 1, "high": mean + 1, "num_seeds": 3, "num_worlds": 24}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    row = {"world": "vizdoom", "path": "return", "figure": "psnr_db", "unit": "dB"}
    rows = [
        {**row, "arm": "none", "value": interval(15), "difference": None},
        {**row, "arm": "ours", "value": interval(18), "difference": interval(3)},
    ]
    (tmp_path / "memory").mkdir()
    book = {"starters": [{"student": "sha256:0"}, PARTS], "rows": rows}
    (tmp_path / "memory" / "ablation.json").write_text(json.dumps(book))
    return tmp_path


def test_parameters_and_bytes_are_counted_in_the_files(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    path = tmp_path / "vae" / "vae.safetensors"
    save_file({"a": np.zeros((3, 5), np.float16), "b": np.zeros(7, np.float16)}, path)
    assert num_parameters(path) == 22
    table = files_table(tmp_path)
    size = path.stat().st_size
    assert "| `vae/vae.safetensors` | causal video VAE" in table
    assert f"| 0.00 M | {size} |" in table
    assert table.endswith(f"| all |  |  | {size} |")


def test_a_legs_row_says_what_it_took_and_what_came_of_it() -> None:
    table = training_table({"legs": [LEG, {**LEG, "minutes": 3.5}]})
    row = "| 02-memory | NVIDIA H100 | 8 | 2 | 9 procedural, 7 vizdoom | 1,500 x 64 |"
    assert f"{row} held_out_loss 0.900 to 0.700 |" in table
    assert "| all |  | 11.5 |" in table


def test_figures_have_their_interval_and_a_world_without_one_a_dash(results: Path) -> None:
    table = figures_table(results, PARTS, CLAIMS)
    assert "| memory over none | - | +3.00 dB [+2.00, +4.00], n = 3 x 24 |" in table
    assert "| memory | - | 18.00 dB [17.00, 19.00], n = 3 x 24 |" in table
    assert "nobody" not in table


def test_figures_of_other_weights_are_left_out(results: Path) -> None:
    assert "dB" not in figures_table(results, {"student": "sha256:2"}, CLAIMS)
    path = results / "memory" / "ablation.json"
    path.write_text(json.dumps({"rows": json.loads(path.read_text())["rows"]}))
    assert "dB" not in figures_table(results, PARTS, CLAIMS)


def test_the_card_is_written_between_its_markers(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "MODEL_CARD.md"
    names = ("files", "training", "figures")
    card.write_text(
        "".join(
            f"# {name}\n<!-- {name}: made by python -m cli.starter_card -->\nold\n"
            f"<!-- end of {name} -->\n"
            for name in names
        )
    )
    (tmp_path / "training.json").write_text(json.dumps({"legs": [LEG]}))
    monkeypatch.setattr(starter_card, "RESULTS", results)
    starter_card.main([str(tmp_path)])
    text = card.read_text()
    assert "old" not in text
    assert "02-memory" in text
    assert "memory: revisit PSNR over none" not in text
    starter_card.main([str(tmp_path)])
    assert card.read_text() == text
