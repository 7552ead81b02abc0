"""Settings of the tasks that distil a student. It imports nothing they work with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import RecipeConfig
from worldloom.distill.config import DistillationConfig
from worldloom.legs.recipes import DISTILLATION_RECIPES


class DistilStageConfig(RecipeConfig):
    """What every task that distils a student is told."""

    distillation: DistillationConfig = Field(
        DistillationConfig(), description="updates, rollouts and learning rates"
    )
    measured_segments: int = Field(
        3, ge=1, description="segments of the held-out rollouts that are measured"
    )


class DistilColdStartStepConfig(DistilStageConfig):
    """Stage C1: one segment behind a recorded past."""

    distillation: DistillationConfig = Field(
        DISTILLATION_RECIPES["cold_start"], description="updates and learning rates"
    )


class DistilMultiSegmentStepConfig(DistilStageConfig):
    """Stage C2: up to six segments of the student's own."""

    distillation: DistillationConfig = Field(
        DISTILLATION_RECIPES["multi_segment"], description="updates, rollouts and learning rates"
    )


class DistilStudentStepConfig(DistilStageConfig):
    """How the few-step student is made from the base model."""

    starter: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="sha256 of the starter student's weights, which WORLDLOOM_STARTER holds as "
        "student/transformer.safetensors; empty starts the student from the base model",
    )
