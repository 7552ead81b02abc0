"""One arm under one seed, trained in a process of its own beside others.

It knows how a plan becomes an objective and steps; it does not know which arms there are.
"""

from __future__ import annotations

import copy
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from worldloom.config import JsonValue, apply_overrides, parse_config, resolved
from worldloom.data.latents import LatentClips
from worldloom.distill.dmd import Distillation
from worldloom.errors import ArtifactError
from worldloom.experiments.training_clips import StackedClips, load_clips
from worldloom.experiments.training_plans import ArmTraining, TrainingKind
from worldloom.experiments.training_record import TrainArmsConfig, TrainedArm
from worldloom.legs.recipes import DISTILLATION_RECIPES, FLOW_RECIPES
from worldloom.memory.config import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.presets import ModelPreset, preset, with_overrides
from worldloom.rollout.config import SamplerConfig
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.flow_objective import FlowObjective
from worldloom.train.model_checkpoint import load_model, save_model
from worldloom.train.tracking import NullTracker
from worldloom.train.trainer import Trainer

_LOG_EVERY = 50
_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class ArmJob:
    """One training.

    Attributes:
        arm: the arm's name.
        seed: of weights and draws.
        kind: how it is trained.
        training: what it is trained by, the whole plan's settings first.
        config: how long and on what.
        num_steps: optimiser steps.
        start: folder of the transformer to go on from; None: random weights. For a student it is
            its teacher's.
        data: folder of clips.
        out: folder for the transformer.
    """

    arm: str
    seed: int
    kind: TrainingKind
    training: ArmTraining
    config: TrainArmsConfig
    num_steps: int
    start: Path | None
    data: Path
    out: Path


def shape_of(job: ArmJob) -> ModelPreset:
    """Return the model that a job trains; raises `ConfigError` for settings that do not fit."""
    return with_overrides(preset(job.config.preset), (*job.config.shape, *job.training.shape))


def train_job(job: ArmJob) -> TrainedArm:
    """Train one arm under one seed, write its transformer and return what is told of it."""
    started = time.monotonic()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = shape_of(job)
    train, held_out = load_clips(job.data, model.transformer, device)
    learn = _distilled if job.kind == "distillation" else _matched
    made, judged, steps = learn(job, model, train, held_out)
    own = job.config.sampler or model.base_sampler
    _save(job.out, made, model.sampler if job.kind == "distillation" else own)
    return TrainedArm(
        arm=job.arm,
        seed=job.seed,
        num_steps=steps,
        seconds=round(time.monotonic() - started, 1),
        held_out=judged,
    )


def end_with(parent: int) -> None:
    """Let this process end when its parent does, in the middle of a training too.

    A training that goes on for nobody would hold the device until its last step.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


Learnt = tuple[WorldModelTransformer, dict[str, float], int]


def _matched(job: ArmJob, model: ModelPreset, train: StackedClips, held_out: LatentClips) -> Learnt:
    """Train by teacher-forced flow matching."""
    recipe, on_gpu = FLOW_RECIPES["memory"], torch.cuda.is_available()
    layer = {
        **resolved(recipe.objective),
        "batch_clips": job.config.batch,
        "compilation": job.config.compilation,
        "draws_noise_on_device": on_gpu,
    }
    own_draws = f"self_correction.rollout_seed={job.seed}"
    settings = apply_overrides(
        parse_config(type(recipe.objective), layer), (own_draws, *job.training.objective)
    )
    transformer = _start(job, model)
    objective = FlowObjective(settings, transformer, train, held_out)
    learner: dict[str, JsonValue] = {"optimizer": job.config.optimizer}
    if job.config.learning_rate:
        learner["learning_rate"] = job.config.learning_rate
    trainer = TrainerConfig(
        num_steps=job.num_steps,
        checkpoint_every_steps=0,
        log_every_steps=_LOG_EVERY,
        seed=job.seed,
        deterministic=not on_gpu,
        learner=parse_config(LearnerConfig, {**resolved(recipe.learner), **learner}),
    )
    with tempfile.TemporaryDirectory(prefix="arm-") as scratch:
        result = Trainer(trainer).run(objective, folder=Path(scratch))
    made = WorldModelTransformer(model.transformer)
    made.load_state_dict(result.learner.module_state())
    judged = {name: value for name, value in result.evaluations[-1].items() if name != "step"}
    return made, judged, result.learner.num_steps


def _distilled(
    job: ArmJob, model: ModelPreset, train: StackedClips, held_out: LatentClips
) -> Learnt:
    """Train a student by distribution matching against its teacher."""
    recipe, on_gpu = DISTILLATION_RECIPES["cold_start"], torch.cuda.is_available()
    rates = (
        {
            "student": {**resolved(recipe.student), "learning_rate": job.config.learning_rate},
            "critic": {**resolved(recipe.critic), "learning_rate": 2 * job.config.learning_rate},
        }
        if job.config.learning_rate
        else {}
    )
    layer = {
        **resolved(recipe),
        "num_steps": job.num_steps,
        "batch_clips": job.config.batch,
        "sampler": resolved(model.sampler),
        "seed": job.seed,
        "deterministic": not on_gpu,
        "compilation": "recorded" if "recorded" in job.config.compilation else "none",
        "draws_noise_on_device": on_gpu,
        "log_every_steps": _LOG_EVERY,
        "checkpoint_every_steps": 1_000_000,
        **rates,
    }
    settings = apply_overrides(parse_config(type(recipe), layer), job.training.objective)
    teacher = _start(job, model)
    run = Distillation(
        settings,
        teacher=teacher,
        student=copy.deepcopy(teacher),
        train=train,
        held_out=held_out,
        retrieval=RetrievalConfig(),
    )
    with tempfile.TemporaryDirectory(prefix="arm-") as scratch:
        state = run.run(Path(scratch), NullTracker())
    made = WorldModelTransformer(model.transformer)
    made.load_state_dict(state)
    error = run.rollout_error(made.to(run.student.device).eval(), settings.max_segments)
    return made.cpu(), {"rollout_error": error}, len(run.history)


def _start(job: ArmJob, model: ModelPreset) -> WorldModelTransformer:
    """Return the network that a job begins with; what it sees may differ from what it saw before.

    Raises:
        ArtifactError: for weights of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        transformer = WorldModelTransformer(model.transformer)
    if job.start is not None:
        loaded, _ = load_model(job.start)
        expected, found = (_shapes(network) for network in (transformer, loaded))
        if found != expected:
            differing = sorted(dict(found.items() ^ expected.items()))
            message = f"{job.start}: other tensors than the arms' ({', '.join(differing[:3])})"
            raise ArtifactError(message)
        transformer.load_state_dict(loaded.state_dict())
    return transformer


def _shapes(network: WorldModelTransformer) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _save(folder: Path, transformer: WorldModelTransformer, sampler: SamplerConfig) -> None:
    """Write a transformer as a whole folder or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    save_model(
        partial, transformer, sampler=sampler, retrieval=RetrievalConfig(), dtype=torch.float16
    )
    partial.rename(folder)
