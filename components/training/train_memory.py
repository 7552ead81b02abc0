"""Task `train_memory`, stage B: a model that obeys to one that also remembers and corrects."""

from __future__ import annotations

from collections.abc import Mapping

from components.runtime import Step, StepContext
from components.training.flow_stage import train_stage
from components.training.transformer_config import TrainMemoryStepConfig
from worldloom.train.model_checkpoint import load_model

STEP = Step(
    name="train_memory",
    config=TrainMemoryStepConfig,
    parents=("base", "latents"),
    outputs=("base",),
)


def run(context: StepContext[TrainMemoryStepConfig]) -> Mapping[str, str]:
    """Go on from stage A's model, measure and store the base model."""
    transformer, _ = load_model(context.folder("base"))
    return train_stage(context, context.config, transformer)
