"""Starter weights by a recipe: legs that are there are done, the rest is trained in turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import FRAME_SIZE

from worldloom.config import apply_overrides, parse_config, resolved
from worldloom.errors import ArtifactError, ConfigError, MachineError
from worldloom.legs.carried import RECIPE
from worldloom.legs.config import LegConfig
from worldloom.legs.recipes import (
    DECODER_RECIPE,
    DISTILLATION_RECIPES,
    FLOW_RECIPES,
    VAE_RECIPE,
)
from worldloom.legs.stages import STAGES
from worldloom.legs.starter import (
    StarterRecipe,
    TrainingRecord,
    clips_folder,
    planned_legs,
    read_recipe,
    require_gpu,
    train_starter,
)
from worldloom.presets import preset

pytest.importorskip("vizdoom")

TINY = {
    "preset": "nano-stream",
    "shape": [f"latent_height={FRAME_SIZE[0] // 8}", f"latent_width={FRAME_SIZE[1] // 8}"],
    "batch": 2,
}
VAE_LEG = {**TINY, "stage": "vae", "minutes": 2}
ACTIONS_LEG = {**TINY, "stage": "actions", "minutes": 3, "seed": 4}
MEMORY_LEG = {**ACTIONS_LEG, "stage": "memory"}
SPEED = {"steps_per_second": 4.0, "mfu": 0.1}


def recipe_of(*legs: dict[str, object]) -> StarterRecipe:
    return parse_config(StarterRecipe, {"legs": list(legs)})


def leave(out: Path, recipe: StarterRecipe, index: int, parts: dict[str, str]) -> None:
    """Leave what a leg of a recipe leaves."""
    leg = planned_legs(recipe, out)[index]
    write_leg(leg.folder, leg.config, parts)


def write_leg(folder: Path, config: LegConfig, parts: dict[str, str]) -> None:
    """Write a leg's parts, each with a text in it, and its log."""
    for part, text in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "weights").write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    log = {
        "config": resolved(config),
        "device": "NVIDIA H100 80GB HBM3",
        "torch": "2.11",
        "seconds": 130.0,
        "num_steps": 500,
        "clips": {"by_source": {"procedural": 9}, "damaged": []},
        "speed": SPEED,
        "evaluations": [{"held_out_loss": 2.0}, {"held_out_loss": 1.0}],
    }
    (folder / "leg.json").write_text(json.dumps(log))


def nothing(*_: object) -> None:
    """Be told and say nothing."""


def text_of(out: Path, part: str) -> str:
    return (out / part / "weights").read_text()


class Legs:
    """Trains legs as far as files go: each is told what it may go on from."""

    def __init__(self, ends_at: int = 99) -> None:
        self.ends_at = ends_at
        self.given: list[tuple[str, list[str]]] = []

    def __call__(
        self, config: LegConfig, *, data: Path, weights: Path, out: Path, report: object
    ) -> None:
        if len(self.given) == self.ends_at:
            raise KeyboardInterrupt
        self.given.append((config.stage, sorted(path.name for path in weights.iterdir())))
        data.mkdir(parents=True, exist_ok=True)
        part = "vae" if config.stage == "vae" else "base"
        write_leg(out, config, {part: config.stage})


@pytest.mark.slow
def test_each_leg_goes_on_from_the_parts_of_those_before_it(tmp_path: Path) -> None:
    recipe, legs = recipe_of(VAE_LEG, ACTIONS_LEG, MEMORY_LEG), Legs()
    told: list[str] = []
    out, data = tmp_path / "out", tmp_path / "data"
    record = train_starter(recipe, out=out, data=data, tell=told.append, train=legs)
    assert legs.given == [("vae", []), ("actions", ["vae"]), ("memory", ["base", "vae"])]
    assert told == ["01-vae: 2 minutes", "02-actions: 3 minutes", "03-memory: 3 minutes"]
    assert not list(data.iterdir())  # a leg's clips go with it
    assert {path.name for path in out.iterdir()} == {
        "vae", "base", "places", "legs", "training.json", "MODEL_CARD.md",
    }  # fmt: skip
    assert TrainingRecord.model_validate_json((out / "training.json").read_text()) == record


@pytest.mark.slow
def test_what_was_interrupted_goes_on_at_the_leg_that_is_missing(tmp_path: Path) -> None:
    recipe, legs = recipe_of(VAE_LEG, ACTIONS_LEG, MEMORY_LEG), Legs(ends_at=2)
    out, data = tmp_path / "out", tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        train_starter(recipe, out=out, data=data, tell=nothing, train=legs)
    told: list[str] = []
    again = Legs()
    train_starter(recipe, out=out, data=data, tell=told.append, train=again)
    assert told == ["01-vae: there already", "02-actions: there already", "03-memory: 3 minutes"]
    assert again.given == [("memory", ["base", "vae"])]
    assert text_of(out, "base") == "memory"


@pytest.mark.slow
def test_parts_are_those_of_the_last_leg_that_trained_them(tmp_path: Path) -> None:
    recipe = recipe_of(VAE_LEG, ACTIONS_LEG, MEMORY_LEG)
    leave(tmp_path, recipe, 0, {"vae": "vae"})
    leave(tmp_path, recipe, 1, {"base": "obeys"})
    leave(tmp_path, recipe, 2, {"base": "remembers", "critic": "judges"})
    record = train_starter(recipe, out=tmp_path, data=tmp_path / "data", tell=nothing)
    assert (text_of(tmp_path, "vae"), text_of(tmp_path, "base")) == ("vae", "remembers")
    assert not (tmp_path / "critic").exists()
    assert [leg.name for leg in record.legs] == ["01-vae", "02-actions", "03-memory"]
    assert record.legs[1].before == {"held_out_loss": 2.0}
    assert record.legs[1].after == {"held_out_loss": 1.0}


def test_a_leg_of_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    leave(tmp_path, recipe_of(VAE_LEG), 0, {"vae": "vae"})
    other = recipe_of({**VAE_LEG, "seed": 7})
    with pytest.raises(ArtifactError, match="trained with seed=0, the recipe says 7"):
        train_starter(other, out=tmp_path, data=tmp_path / "data", tell=nothing)


def test_a_cpu_is_told_how_long_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = recipe_of(VAE_LEG, ACTIONS_LEG)
    words = r"2 legs are 5 minutes of an H100, which has [\d,]+ times .* up to [\d,]+ hours"
    with pytest.raises(MachineError, match=words):
        require_gpu(recipe)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require_gpu(recipe)


def test_legs_that_are_fed_alike_share_their_clips() -> None:
    vae, actions = recipe_of(VAE_LEG, ACTIONS_LEG).legs
    other = parse_config(LegConfig, {**ACTIONS_LEG, "feed": {"seed": 9}})
    sooner = parse_config(LegConfig, {**ACTIONS_LEG, "feed": {"num_workers": 9, "first_clips": 5}})
    assert clips_folder(vae) == clips_folder(actions) == clips_folder(sooner)
    assert clips_folder(other) != clips_folder(vae)


def test_a_leg_whose_clips_came_faster_is_the_same_leg(tmp_path: Path) -> None:
    faster = recipe_of({**VAE_LEG, "feed": {"num_workers": 9, "first_clips": 5}})
    leave(tmp_path, faster, 0, {"vae": "vae"})
    (leg,) = planned_legs(recipe_of(VAE_LEG), tmp_path)
    assert leg.is_done


def test_the_carried_recipe_is_one_that_its_stages_accept() -> None:
    recipe = read_recipe(RECIPE)
    assert {leg.stage for leg in recipe.legs} >= set(STAGES) - {"actions"}
    objectives = {
        "vae": VAE_RECIPE.objective,
        "decoder": DECODER_RECIPE.objective,
        **{stage: each.objective for stage, each in FLOW_RECIPES.items()},
        **DISTILLATION_RECIPES,
    }
    for leg in recipe.legs:
        apply_overrides(objectives[leg.stage], leg.objective)
        assert preset(leg.preset).vae == "small"


def test_a_recipe_that_is_not_there_or_mistyped_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"recipe\.json: missing, expected a recipe"):
        read_recipe(tmp_path / "recipe.json")
    (tmp_path / "recipe.json").write_text(json.dumps({"legs": [{**VAE_LEG, "minuets": 3}]}))
    with pytest.raises(ConfigError, match=r"recipe\.json\.legs\.0\.minuets: no such setting"):
        read_recipe(tmp_path / "recipe.json")
