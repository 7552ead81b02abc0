"""Task `distil_cold_start`, stage C1: the base model to a student of one segment."""

from __future__ import annotations

from collections.abc import Mapping

from components.distillation.student_config import DistilColdStartStepConfig
from components.distillation.student_stage import distil_stage
from components.runtime import Step, StepContext

STEP = Step(
    name="distil_cold_start",
    config=DistilColdStartStepConfig,
    parents=("base", "latents"),
    outputs=("student",),
)


def run(context: StepContext[DistilColdStartStepConfig]) -> Mapping[str, str]:
    """Distil behind recorded pasts; store the student and its critic."""
    return distil_stage(context, context.config, None, keeps_critic=True)
