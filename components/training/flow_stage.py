"""What the tasks that train a transformer by flow matching share: train, measure, store, show.

It knows a task's context and where training starts; it does not know which stage it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from components.runtime import StepContext
from components.training.sample_video import sample_walk, write_walk
from components.training.transformer_config import FlowStageConfig
from worldloom.config import ConfigT
from worldloom.data.latents import LatentClips, read_latents
from worldloom.errors import ArtifactError, TrainingError
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import load_vae
from worldloom.train.checkpoint import load_checkpoint
from worldloom.train.flow_job import FlowJob, averaged_state, run_job
from worldloom.train.model_checkpoint import save_model
from worldloom.train.ray_workers import run_on_workers
from worldloom.train.trainer import HistoryRow

logger = logging.getLogger(__name__)

HELD_OUT_LOSS = "held_out_loss"
JOB_ENTRY = "worldloom.train.flow_job:run_job_text"


@dataclass(frozen=True)
class Measured:
    """What a run measured, wherever its processes were."""

    history: list[HistoryRow]
    evaluations: list[HistoryRow]
    speed: Mapping[str, float]


def train_stage(
    context: StepContext[ConfigT], config: FlowStageConfig, transformer: WorldModelTransformer
) -> Mapping[str, str]:
    """Train a transformer on the task's latents, measure it and store it as `base`."""
    latents = context.folder("latents")
    retrieval = config.objective.retrieval
    start = context.fresh_folder("start")
    save_model(start, transformer, sampler=config.sampler, retrieval=retrieval)
    job = FlowJob(
        start=start,
        latents=latents,
        folder=context.scratch / "training",
        objective=config.objective,
        trainer=config.trainer,
    )
    trained = WorldModelTransformer(transformer.config)
    if config.num_workers == 1:
        result = run_job(job, context.tracker)
        measured = Measured(result.history, result.evaluations, result.speed)
        trained.load_state_dict(result.learner.module_state())
    else:
        run_on_workers(
            JOB_ENTRY, job.model_dump_json(), config.num_workers, use_gpu=torch.cuda.is_available()
        )
        measured = _of_workers(job.folder, trained)
    trained.eval()
    folder = context.fresh_folder("base")
    save_model(folder, trained, sampler=config.sampler, retrieval=retrieval)
    _write_metrics(folder, measured)
    _track_sample(context, config, trained, read_latents(latents, "test"))
    return {"base": context.commit(folder, "base-checkpoint")}


def _of_workers(folder: Path, trained: WorldModelTransformer) -> Measured:
    """Take weights and measurements from the checkpoint that workers left."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        message = f"{folder}: the workers ended and left no checkpoint, expected one"
        raise TrainingError(message)
    trained.load_state_dict(averaged_state(checkpoint.tensors))
    history, evaluations = checkpoint.values["history"], checkpoint.values["evaluations"]
    return Measured(cast("list[HistoryRow]", history), cast("list[HistoryRow]", evaluations), {})


def _write_metrics(folder: Path, result: Measured) -> None:
    before, after = result.evaluations[0], result.evaluations[-1]
    values: dict[str, float | list[HistoryRow]] = {
        "held_out_loss_before": before[HELD_OUT_LOSS],
        "held_out_loss_after": after[HELD_OUT_LOSS],
        "evaluations": result.evaluations,
        "history": result.history,
    }
    folder.joinpath("metrics.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    log_event(
        logger,
        "transformer_trained",
        held_out_loss_before=before[HELD_OUT_LOSS],
        held_out_loss_after=after[HELD_OUT_LOSS],
        speed=result.speed,
    )


def _track_sample(
    context: StepContext[ConfigT],
    config: FlowStageConfig,
    transformer: WorldModelTransformer,
    held_out: LatentClips,
) -> None:
    """Send a walk to the tracker, decoded by the VAE that made the latents."""
    if not config.sample.num_segments:
        return
    parents = context.store.manifest(context.parents["latents"]).parents
    if "vae" not in parents:
        message = f"artifact {context.parents['latents']}: no parent 'vae', expected its VAE"
        raise ArtifactError(message)
    walk = sample_walk(
        transformer,
        load_vae(context.store.fetch(parents["vae"])),
        held_out,
        config.sample,
        sampler=config.sampler,
        retrieval=config.objective.retrieval,
    )
    path = context.scratch / "held_out_walk.mp4"
    write_walk(path, walk, scale=config.sample.scale)
    context.tracker.log_file(path, "samples")
