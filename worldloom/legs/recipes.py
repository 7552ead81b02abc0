"""What each stage of training does, as settings: what is hidden, corrected, rolled out, how fast.

    vae            frames to latents and back
    actions        A: cameras and actions, from the past alone; sometimes the past is hidden too
    memory         B: memory beside it, and residuals on both (self-correction)
    cold_start     C1: distribution matching on one segment behind a recorded past
    multi_segment  C2: the same behind 1 to 6 segments of the student's own
    decoder        a narrow decoder, cut out of the VAE's and taught to answer what that answers

Stages are Matrix-Game 3.0's; rates are for small networks, since its own are for five billion
parameters. It imports no torch, so that pipelines can be configured with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from worldloom.config import Config
from worldloom.distill.config import DistillationConfig
from worldloom.distill.decoder_config import DecoderObjectiveConfig
from worldloom.train.config import LearnerConfig
from worldloom.train.flow_config import FlowObjectiveConfig, SelfCorrectionConfig
from worldloom.train.vae_config import VAEObjectiveConfig

Stage = Literal["vae", "actions", "memory", "cold_start", "multi_segment", "decoder"]
FlowStage = Literal["actions", "memory"]
DistillationStage = Literal["cold_start", "multi_segment"]


class FlowRecipe(Config):
    """A stage of teacher-forced flow matching."""

    objective: FlowObjectiveConfig = Field(description="batches, and what is hidden of them")
    learner: LearnerConfig = Field(description="how parameters are updated")


class VAERecipe(Config):
    """The stage of the video VAE."""

    objective: VAEObjectiveConfig = Field(description="batches and loss weights")
    learner: LearnerConfig = Field(description="how parameters are updated")


class DecoderRecipe(Config):
    """The stage of a narrow decoder."""

    objective: DecoderObjectiveConfig = Field(description="share cut out, batches, loss weights")
    learner: LearnerConfig = Field(description="how parameters are updated")


_FLOW_LEARNER = LearnerConfig(
    learning_rate=1e-3, warmup_steps=50, weight_decay=0.01, ema_decay=0.998, precision="bf16"
)

VAE_RECIPE = VAERecipe(
    objective=VAEObjectiveConfig(batch_size=16),
    learner=LearnerConfig(learning_rate=2e-3, warmup_steps=50, ema_decay=0.998, precision="bf16"),
)

DECODER_RECIPE = DecoderRecipe(
    objective=DecoderObjectiveConfig(batch_size=16),
    learner=LearnerConfig(learning_rate=1e-3, warmup_steps=50, ema_decay=0.998, precision="bf16"),
)

FLOW_RECIPES: Mapping[FlowStage, FlowRecipe] = {
    "actions": FlowRecipe(
        objective=FlowObjectiveConfig(
            no_memory_probability=1.0,
            random_memory_probability=0.0,
            no_past_probability=0.2,
            self_correction=SelfCorrectionConfig(source="none"),
        ),
        learner=_FLOW_LEARNER,
    ),
    "memory": FlowRecipe(
        objective=FlowObjectiveConfig(evaluates_corrupted=True),
        learner=_FLOW_LEARNER,
    ),
}

_STUDENT = LearnerConfig(
    learning_rate=4e-5, warmup_steps=10, betas=(0.0, 0.99), ema_decay=0.98, precision="bf16"
)
_CRITIC = LearnerConfig(
    learning_rate=8e-5, warmup_steps=10, betas=(0.0, 0.99), ema_decay=0.0, precision="bf16"
)

DISTILLATION_RECIPES: Mapping[DistillationStage, DistillationConfig] = {
    "cold_start": DistillationConfig(
        num_steps=600,
        max_segments=1,
        critic_updates_per_student_update=5,
        hide_context_probability=0.0,
        regression_weight=0.0,
        student=_STUDENT,
        critic=_CRITIC,
    ),
    "multi_segment": DistillationConfig(
        num_steps=2400,
        max_segments=6,
        rollouts="persistent",
        critic_updates_per_student_update=3,
        hide_context_probability=0.2,
        regression_weight=0.0,
        student=_STUDENT,
        critic=_CRITIC,
    ),
}
