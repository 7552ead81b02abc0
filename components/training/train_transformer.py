"""Task `train_transformer`: latents to the base world model, by flow matching, all at once.

With a starter its weights are fine-tuned on these clips; without one training starts from nothing.
The held-out loss before and after, and every step's loss, go into the artifact; a walk beside the
recorded one goes to the tracker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from components.runtime import Step, StepContext
from components.starter import starter_folder
from components.training.flow_stage import train_stage
from components.training.transformer_config import TrainTransformerStepConfig
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.train.model_checkpoint import WEIGHTS_FILE, load_model

logger = logging.getLogger(__name__)

STEP = Step(
    name="train_transformer",
    config=TrainTransformerStepConfig,
    parents=("latents",),
    outputs=("base",),
)


def run(context: StepContext[TrainTransformerStepConfig]) -> Mapping[str, str]:
    """Train, measure and store the base model."""
    return train_stage(context, context.config, _starting_point(context.config))


def _starting_point(config: TrainTransformerStepConfig) -> WorldModelTransformer:
    if config.starter:
        folder = starter_folder("base", WEIGHTS_FILE, config.starter)
        transformer, _ = load_model(folder)
        log_event(logger, "transformer_from_starter", digest=config.starter)
        return transformer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.trainer.seed)
        return WorldModelTransformer(config.transformer)
