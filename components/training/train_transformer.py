"""Task `train_transformer`: latents to the base world model, by flow matching.

With a starter its weights are fine-tuned on these clips; without one training starts from nothing.
The held-out loss before and after, and every step's loss, go into the artifact; a walk beside the
recorded one goes to the tracker.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from components.runtime import Step, StepContext
from components.starter import starter_folder
from components.training.sample_video import sample_walk, write_walk
from components.training.transformer_config import TrainTransformerStepConfig
from worldloom.data.latents import LatentClips, read_latents
from worldloom.errors import ArtifactError
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import load_vae
from worldloom.train.flow_objective import FlowObjective
from worldloom.train.model_checkpoint import WEIGHTS_FILE, load_model, save_model
from worldloom.train.trainer import HistoryRow, Trainer, TrainingResult

logger = logging.getLogger(__name__)

STEP = Step(
    name="train_transformer",
    config=TrainTransformerStepConfig,
    parents=("latents",),
    outputs=("base",),
)
HELD_OUT_LOSS = "held_out_loss"


def run(context: StepContext[TrainTransformerStepConfig]) -> Mapping[str, str]:
    """Train, measure and store the base model."""
    config = context.config
    latents = context.folder("latents")
    held_out = read_latents(latents, "test")
    transformer = _starting_point(config)
    objective = FlowObjective(
        config.objective,
        transformer,
        read_latents(latents, "train"),
        held_out,
    )
    result = Trainer(config.trainer).run(
        objective, folder=context.scratch / "training", tracker=context.tracker
    )
    transformer.load_state_dict(result.learner.module_state())
    transformer.to("cpu").eval()
    folder = context.fresh_folder("base")
    retrieval = config.objective.retrieval
    save_model(folder, transformer, sampler=config.sampler, retrieval=retrieval)
    _write_metrics(folder, result)
    _track_sample(context, transformer, held_out)
    return {"base": context.commit(folder, "base-checkpoint")}


def _starting_point(config: TrainTransformerStepConfig) -> WorldModelTransformer:
    if config.starter:
        folder = starter_folder("base", WEIGHTS_FILE, config.starter)
        transformer, _ = load_model(folder)
        log_event(logger, "transformer_from_starter", digest=config.starter)
        return transformer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.trainer.seed)
        return WorldModelTransformer(config.transformer)


def _write_metrics(folder: Path, result: TrainingResult) -> None:
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
    )


def _track_sample(
    context: StepContext[TrainTransformerStepConfig],
    transformer: WorldModelTransformer,
    held_out: LatentClips,
) -> None:
    """Send a walk to the tracker, decoded by the VAE that made the latents."""
    config = context.config
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
