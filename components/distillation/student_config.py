"""Settings of the task `distil_student`. It imports nothing the task works with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config
from worldloom.distill.config import DistillationConfig


class DistilStudentStepConfig(Config):
    """How the few-step student is made from the base model."""

    starter: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="sha256 of the starter student's weights, which WORLDLOOM_STARTER holds as "
        "student/transformer.safetensors; empty starts the student from the base model",
    )
    distillation: DistillationConfig = Field(
        DistillationConfig(), description="updates, rollouts and learning rates"
    )
    measured_segments: int = Field(
        3, ge=1, description="segments of the held-out rollouts that are measured"
    )
