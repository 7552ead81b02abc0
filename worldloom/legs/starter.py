"""Makes starter weights by a recipe: its legs in turn, each from what the ones before left.

    OUT/legs/01-vae/                     a leg's parts and its log, written once
    OUT/vae | base | student | ...       the parts as the last leg that trained each left them
    OUT/places/                          where sessions of the starter begin
    OUT/training.json                    `TrainingRecord`: how every leg went
    OUT/MODEL_CARD.md                    its tables and last words still to be filled in

A leg whose log is there is done, so what was interrupted goes on at the leg that is missing. It
does not know what a stage does, nor the command line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field

from worldloom.config import (
    Config,
    JsonValue,
    digest_of,
    load_config,
    parse_config,
    resolved,
)
from worldloom.errors import ArtifactError, MachineError
from worldloom.legs.carried import CARD, CARD_FILE, RECORD_FILE
from worldloom.legs.config import LegConfig
from worldloom.legs.leg import Report
from worldloom.legs.places import record_places, write_places
from worldloom.legs.run import COMPILE_CACHE_FILE, LOG_FILE, run_leg
from worldloom.presets import preset, with_overrides
from worldloom.train.checkpoint import write_atomically

_LEGS_FOLDER = "legs"
_WEIGHTS_FOLDER = "weights"
_NOT_SHIPPED = frozenset({"critic"})
_RECIPES_GPU = "H100"
# Settings of a feed that say how fast clips come, not which.
_NO_MATTER = ("num_workers", "first_clips")

Tell = Callable[[str], None]


class TrainLeg(Protocol):
    """Trains one leg, as `run_leg` does."""

    def __call__(
        self, config: LegConfig, *, data: Path, weights: Path, out: Path, report: Report | None
    ) -> object:
        """Write the leg's parts and its log into `out`."""


class StarterRecipe(Config):
    """The legs that make starter weights, in turn."""

    legs: tuple[LegConfig, ...] = Field(min_length=1, description="the legs, the first one first")

    @property
    def minutes(self) -> float:
        """Minutes of training in all; clips are rendered before and beside them."""
        return sum(leg.minutes for leg in self.legs)


class LegRecord(Config):
    """How a leg went."""

    name: str = Field(description="its place in the recipe and its stage")
    seed: int = Field(description="seed of its draws; of its clips: the feed's")
    minutes: float = Field(description="minutes of training that it was given")
    batch: int = Field(description="clips of a step; windows for the VAE")
    device: str = Field(description="where it ran")
    torch: str = Field(description="torch's version")
    seconds: float = Field(description="seconds in all, rendering of the first clips included")
    num_steps: int = Field(description="steps that it took")
    clips: dict[str, int] = Field(description="training and held-out clips seen, by source")
    speed: dict[str, float] = Field(description="the trainer's speed, where it tells one")
    before: dict[str, float] = Field(description="held-out figures before it")
    after: dict[str, float] = Field(description="held-out figures after it")


class TrainingRecord(Config):
    """How starter weights were made."""

    legs: tuple[LegRecord, ...] = Field(description="its legs in turn")


@dataclass(frozen=True)
class PlannedLeg:
    """A leg of a recipe and the folder that is its own."""

    name: str
    config: LegConfig
    folder: Path

    @property
    def is_done(self) -> bool:
        """Tell whether its log is there; raises `ArtifactError` if it had other settings."""
        path = self.folder / LOG_FILE
        if not path.is_file():
            return False
        log = json.loads(path.read_text())["config"]
        asked, had = map(_what, (self.config, parse_config(LegConfig, log, where=path.name)))
        for key, value in asked.items():
            if had[key] != value:
                message = (
                    f"{path}: the leg was trained with {key}={had[key]!r}, the recipe says "
                    f"{value!r}; expected the same, or another --out"
                )
                raise ArtifactError(message)
        return True

    def record(self) -> LegRecord:
        """Return how the leg went, by its log."""
        log = json.loads((self.folder / LOG_FILE).read_text())
        evaluations = log["evaluations"] or [{}]
        return LegRecord(
            name=self.name,
            seed=self.config.seed,
            minutes=self.config.minutes,
            batch=self.config.batch,
            device=log["device"],
            torch=log["torch"],
            seconds=log["seconds"],
            num_steps=log["num_steps"],
            clips=log["clips"]["by_source"],
            speed=log["speed"],
            before=evaluations[0],
            after=evaluations[-1],
        )


def read_recipe(path: Path) -> StarterRecipe:
    """Return a recipe; raises `ArtifactError` when the file is not there."""
    if not path.is_file():
        message = f"{path}: missing, expected a recipe of starter weights"
        raise ArtifactError(message)
    return load_config(StarterRecipe, path.read_text(), where=path.name)


def planned_legs(recipe: StarterRecipe, out: Path) -> list[PlannedLeg]:
    """Return every leg with its folder."""
    names = [f"{number:02d}-{leg.stage}" for number, leg in enumerate(recipe.legs, 1)]
    return [
        PlannedLeg(name, leg, out / _LEGS_FOLDER / name)
        for name, leg in zip(names, recipe.legs, strict=True)
    ]


def clips_folder(leg: LegConfig) -> str:
    """Return the name of the folder of a leg's clips: the same for legs that are fed alike."""
    settings = _what(leg)
    fed = {name: settings[name] for name in ("preset", "shape", "feed")}
    return "clips-" + digest_of(fed).removeprefix("sha256:")[:12]


def train_starter(
    recipe: StarterRecipe,
    *,
    out: Path,
    data: Path,
    tell: Tell,
    report: Report | None = None,
    train: TrainLeg = run_leg,
) -> TrainingRecord:
    """Train the legs that are not done, put the parts together, and return how it went.

    Args:
        recipe: the legs.
        out: folder of the weights; what it holds of the same recipe is gone on from.
        data: folder for clips; legs that are fed alike share theirs, which the last one removes.
        tell: told which leg begins.
        report: told step, number of steps and values of the leg that runs.
        train: what trains a leg.

    Raises:
        ArtifactError: when a leg in `out` had other settings.
        Errors of `run_leg`.
    """
    legs = planned_legs(recipe, out)
    done = [leg.is_done for leg in legs]
    for index, leg in enumerate(legs):
        if done[index]:
            tell(f"{leg.name}: there already")
            continue
        tell(f"{leg.name}: {leg.config.minutes:g} minutes")
        weights = _gather(legs[:index], out / _WEIGHTS_FOLDER)
        shutil.rmtree(leg.folder, ignore_errors=True)
        clips = data / clips_folder(leg.config)
        train(leg.config, data=clips, weights=weights, out=leg.folder, report=report)
        if clips.name not in map(clips_folder, recipe.legs[index + 1 :]):
            shutil.rmtree(clips, ignore_errors=True)
    return _finish(recipe, legs, out)


def require_gpu(recipe: StarterRecipe) -> None:
    """Refuse to train a recipe on a CPU, with how long the same steps would take there at most.

    A small network leaves most of a GPU idle, so at most is not likely; how much it leaves is the
    record's to say once the recipe was trained.

    Raises:
        MachineError: when there is no GPU.
    """
    import torch

    from worldloom.train.speed import gpu_peak_flops, peak_flops

    if torch.cuda.is_available():
        return
    ratio = gpu_peak_flops(_RECIPES_GPU) / peak_flops(torch.device("cpu"))
    message = (
        f"no GPU here: the recipe's {len(recipe.legs)} legs are {recipe.minutes:g} minutes of an "
        f"{_RECIPES_GPU}, which has {ratio:,.0f} times this CPU's arithmetic: the same steps would "
        f"take up to {recipe.minutes / 60 * ratio:,.0f} hours; expected a GPU, or --on-cpu to "
        "train for those minutes here, a small part of the steps"
    )
    raise MachineError(message)


def _what(leg: LegConfig) -> dict[str, JsonValue]:
    """Return a leg's settings without those of its feed that say how fast clips come."""
    feed = {name: v for name, v in resolved(leg.feed).items() if name not in _NO_MATTER}
    return {**resolved(leg), "feed": feed}


def _gather(done: Sequence[PlannedLeg], weights: Path) -> Path:
    """Put together what the legs so far left; the later part counts."""
    shutil.rmtree(weights, ignore_errors=True)
    weights.mkdir(parents=True)
    for leg in done:
        for path in sorted(leg.folder.iterdir()):
            if path.is_dir():
                shutil.copytree(path, weights / path.name, dirs_exist_ok=True)
            elif path.name == COMPILE_CACHE_FILE:
                shutil.copy2(path, weights)
    return weights


def _finish(recipe: StarterRecipe, legs: Sequence[PlannedLeg], out: Path) -> TrainingRecord:
    weights = _gather(legs, out / _WEIGHTS_FOLDER)
    for part in sorted(weights.iterdir()):
        if part.is_dir() and part.name not in _NOT_SHIPPED:
            shutil.copytree(part, out / part.name, dirs_exist_ok=True)
    shutil.rmtree(weights)
    last = recipe.legs[-1]
    model = with_overrides(preset(last.preset), last.shape)
    write_places(out, record_places(model.transformer.frame_size))
    record = TrainingRecord(legs=tuple(leg.record() for leg in legs))
    write_atomically(out / RECORD_FILE, (record.model_dump_json(indent=1) + "\n").encode())
    shutil.copyfile(CARD, out / CARD_FILE)
    return record
