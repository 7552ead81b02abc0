"""Task `train_actions`, stage A: latents to a model that obeys, from the past alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from components.runtime import Step, StepContext
from components.training.flow_stage import train_stage
from components.training.transformer_config import TrainActionsStepConfig
from worldloom.model.transformer import WorldModelTransformer

STEP = Step(
    name="train_actions", config=TrainActionsStepConfig, parents=("latents",), outputs=("base",)
)


def run(context: StepContext[TrainActionsStepConfig]) -> Mapping[str, str]:
    """Train from nothing, measure and store the base model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.config.trainer.seed)
        transformer = WorldModelTransformer(context.config.transformer)
    return train_stage(context, context.config, transformer)
