"""Trains the arms of an experiment, each under several seeds, side by side on one machine.

    <out>/<arm>/<seed>/   one transformer, moving averages in 16 bits
    <out>/training.json   what was trained, on what, for how long

Small networks leave a GPU idle between kernels, so several processes share it. Seeds come one after
another and what is there is not trained again: a training that was ended leaves whole seeds, and
goes on. It does not know walks or figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from worldloom.errors import ArtifactError, ConfigError
from worldloom.experiments.arm_job import ArmJob, end_with, shape_of, train_job
from worldloom.experiments.training_clips import render_clips
from worldloom.experiments.training_plans import ArmTraining, TrainingPlan, training_plan
from worldloom.experiments.training_record import (
    RECORD_FILE,
    SHARED,
    TrainArmsConfig,
    TrainedArm,
    TrainingRecord,
    arm_folder,
    read_training,
    write_training,
)
from worldloom.presets import preset, with_overrides

__all__ = ["TrainArmsConfig", "train_arms"]

Tell = Callable[[str], None]


def train_arms(
    name: str, config: TrainArmsConfig, *, weights: Path, data: Path, out: Path, tell: Tell
) -> TrainingRecord:
    """Train what is not there yet of an experiment's arms and return the record of all.

    Args:
        name: of the experiment.
        config: how long and on what.
        weights: folder with `vae`, and `base` where arms begin with it: students' teacher is it.
        data: folder for clips; those that it holds are used.
        out: folder for arms and record.
        tell: told what is going on.

    Raises:
        ArtifactError: when weights are missing.
        ConfigError: for an experiment whose arms are not trained, settings that do not fit, or
            another training in `out`.
        DataError: when clips cannot be read.
        MachineError: when rendering ends with an error.
        TrainingError: when a loss is not finite.
    """
    plan = training_plan(name)
    phases = _phases(plan, config, weights, data, out)
    for phase in phases:
        for job in phase:
            shape_of(job)  # refuses settings that do not fit before anything is rendered
    record = _begun(name, config, out)
    model = with_overrides(preset(config.preset), config.shape)
    render_clips(config.feed, model, weights / "vae", data, tell)
    there = {(trained.arm, trained.seed) for trained in record.arms}
    with ProcessPoolExecutor(
        config.num_processes,
        mp_context=get_context("spawn"),
        initializer=end_with,
        initargs=(os.getpid(),),
    ) as pool:
        for phase in phases:
            waiting = [
                pool.submit(train_job, job) for job in phase if (job.arm, job.seed) not in there
            ]
            for future in as_completed(waiting):
                record = _with(record, future.result(), out, tell)
    return record


def _phases(
    plan: TrainingPlan, config: TrainArmsConfig, weights: Path, data: Path, out: Path
) -> list[list[ArmJob]]:
    """Return the trainings that may run beside each other, phase by phase."""
    from_base = plan.kind == "distillation" or config.start == "base"
    base = weights / "base" if from_base else None
    if base is not None and not base.is_dir():
        message = f"{base}: missing, expected the transformer that all arms begin with"
        raise ArtifactError(message)
    shared = None if from_base else plan.shared

    def job(arm: str, seed: int, training: ArmTraining, start: Path | None, steps: int) -> ArmJob:
        whole = ArmTraining(
            shape=(*plan.shape, *training.shape), objective=(*plan.objective, *training.objective)
        )
        folder = arm_folder(out, arm, seed)
        return ArmJob(arm, seed, plan.kind, whole, config, steps, start, data, folder)

    seeds = range(config.num_seeds)
    phases = []
    if shared is not None:
        phases.append([job(SHARED, seed, shared, None, config.shared_steps) for seed in seeds])
    phases.append(
        [
            job(
                arm,
                seed,
                training,
                base if shared is None else arm_folder(out, SHARED, seed),
                config.num_steps,
            )
            for seed in seeds
            for arm, training in plan.arms.items()
        ]
    )
    return phases


def _begun(name: str, config: TrainArmsConfig, out: Path) -> TrainingRecord:
    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    record = TrainingRecord(experiment=name, config=config, device=device, arms=())
    if not (out / RECORD_FILE).is_file():
        return record
    found = read_training(out)
    if (found.experiment, _what(found.config)) != (name, _what(config)):
        message = (
            f"{out}: the arms of {found.experiment} trained by other settings lie here, expected "
            f"those of {name} by the same, or another folder"
        )
        raise ConfigError(message)
    return found


def _what(config: TrainArmsConfig) -> TrainArmsConfig:
    """Return the settings that decide what is learnt."""
    return config.model_copy(update={"num_processes": 1, "num_seeds": 1, "compilation": "none"})


def _with(record: TrainingRecord, ended: TrainedArm, out: Path, tell: Tell) -> TrainingRecord:
    told = ", ".join(f"{name} {value:.4f}" for name, value in ended.held_out.items())
    tell(f"{ended.arm}, seed {ended.seed}: {ended.num_steps} steps, {ended.seconds} s, {told}")
    grown = record.model_copy(update={"arms": (*record.arms, ended)})
    write_training(out, grown)
    return grown
