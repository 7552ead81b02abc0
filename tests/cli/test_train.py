"""`worldloom train`: what is asked wrongly is refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.main import run_command
from worldloom.config import resolved
from worldloom.legs import starter
from worldloom.legs.starter import planned_legs, read_recipe
from worldloom.rollout.config import WorldEntry

RECIPE = {"legs": [{"stage": "vae", "minutes": 2}, {"stage": "actions", "minutes": 4}]}
RAN = {
    "device": "NVIDIA H100",
    "torch": "2.11",
    "seconds": 120.0,
    "num_steps": 10,
    "clips": {"by_source": {"procedural": 3}},
    "speed": {},
    "evaluations": [{"step": 10.0, "psnr_db": 29.0}],
}


@pytest.mark.parametrize(
    ("recipe", "code", "words"),
    [
        ({"legs": []}, 2, "recipe.json.legs"),
        ({"legs": [{"stage": "vae", "minuets": 2}]}, 2, "legs.0.minuets: no such setting"),
        (None, 3, "recipe.json: missing, expected a recipe of starter weights"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_and_nothing_starts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: object,
    code: int,
    words: str,
) -> None:
    path, out = tmp_path / "recipe.json", tmp_path / "starter"
    if recipe is not None:
        path.write_text(json.dumps(recipe))
    options = ["--recipe", str(path), "--out", str(out), "--data", str(tmp_path / "data")]
    assert run_command(["train", "starter", *options]) == code
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()


def test_without_a_gpu_it_says_how_long_it_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path, out = tmp_path / "recipe.json", tmp_path / "starter"
    path.write_text(json.dumps(RECIPE))
    assert run_command(["train", "starter", "--recipe", str(path), "--out", str(out)]) == 9
    told = capsys.readouterr().err
    assert "no GPU here: the recipe's 2 legs are 6 minutes of an H100" in told
    assert "the same steps would take up to" in told
    assert not out.exists()


def test_legs_that_ran_elsewhere_are_put_together_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view = {WorldEntry(name="hall", prompt="a hall"): np.zeros((96, 160, 3), np.uint8)}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(starter, "record_places", lambda _size: view)  # no engine here
    path, out = tmp_path / "recipe.json", tmp_path / "starter"
    path.write_text(json.dumps(RECIPE))
    for leg in planned_legs(read_recipe(path), out):
        leg.folder.mkdir(parents=True)
        log = {"config": resolved(leg.config), **RAN}
        (leg.folder / "leg.json").write_text(json.dumps(log))
    assert run_command(["train", "starter", "--recipe", str(path), "--out", str(out)]) == 0
    assert [leg["name"] for leg in json.loads((out / "training.json").read_text())["legs"]] == [
        "01-vae",
        "02-actions",
    ]
    assert "02-actions: there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["memoir"], "leg.stage"),
        (["memory", "--preset", "fredoom"], "preset 'fredoom': not known"),
        (["memory", "--set", "feed.first_clip=3"], "feed.first_clip: no such setting"),
    ],
)
def test_a_leg_that_is_asked_for_wrongly_exits_with_2_and_renders_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    data = tmp_path / "data"
    weights = ["--weights", str(tmp_path / "weights"), "--data", str(data)]
    assert run_command(["train", "leg", *options, *weights]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not data.exists()
