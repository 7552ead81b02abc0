"""Settings of the tasks that train a transformer. It imports nothing that they work with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config, RecipeConfig
from worldloom.legs.recipes import FLOW_RECIPES
from worldloom.model.config import TransformerConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.flow_config import FlowObjectiveConfig


class SampleVideoConfig(Config):
    """The walk that is rendered after training, beside what was recorded."""

    clip_index: int = Field(0, ge=0, description="held-out clip whose start and actions are taken")
    num_segments: int = Field(4, ge=0, description="segments of the walk; 0 renders none")
    seed: int = Field(0, ge=0, description="seed of the walk's noise")
    scale: int = Field(4, ge=1, description="size of a pixel in the video")


class FlowStageConfig(RecipeConfig):
    """What every task that trains a transformer by flow matching is told."""

    objective: FlowObjectiveConfig = Field(
        FlowObjectiveConfig(), description="batches and what is hidden from the model"
    )
    sampler: SamplerConfig = Field(
        SamplerConfig(
            sigmas=(1.0, 0.968, 0.929, 0.882, 0.824, 0.75, 0.652, 0.517, 0.317), solver="euler"
        ),
        description="how the base model is sampled (noise levels as the model sees them)",
    )
    trainer: TrainerConfig = Field(
        TrainerConfig(
            num_steps=60,
            checkpoint_every_steps=20,
            num_threads=2,
            learner=LearnerConfig(
                learning_rate=2e-4, warmup_steps=10, weight_decay=0.01, precision="bf16"
            ),
        ),
        description="steps, checkpoints and learning rate",
    )
    num_workers: int = Field(
        1, ge=1, description="processes, started by Ray Train where there are several"
    )
    sample: SampleVideoConfig = Field(SampleVideoConfig(), description="the video that is tracked")


class TrainTransformerStepConfig(FlowStageConfig):
    """How the world model's transformer is trained, or its starter fine-tuned."""

    starter: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="sha256 of the starter's weights, which WORLDLOOM_STARTER holds as "
        "base/transformer.safetensors and which are fine-tuned; empty trains from nothing",
    )
    transformer: TransformerConfig = Field(
        TransformerConfig(), description="shapes, when trained from nothing"
    )


class TrainActionsStepConfig(FlowStageConfig):
    """Stage A: how a model learns to obey."""

    transformer: TransformerConfig = Field(TransformerConfig(), description="shapes")
    objective: FlowObjectiveConfig = Field(
        FLOW_RECIPES["actions"].objective, description="batches; memory is hidden"
    )


class TrainMemoryStepConfig(FlowStageConfig):
    """Stage B: how a model that obeys learns to remember and to correct itself."""

    objective: FlowObjectiveConfig = Field(
        FLOW_RECIPES["memory"].objective, description="batches and residuals"
    )
