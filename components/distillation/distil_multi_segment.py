"""Task `distil_multi_segment`, stage C2: a student of one segment to one of many."""

from __future__ import annotations

from collections.abc import Mapping

from components.distillation.student_config import DistilMultiSegmentStepConfig
from components.distillation.student_stage import critic_of, distil_stage
from components.runtime import Step, StepContext
from worldloom.train.model_checkpoint import load_model

STEP = Step(
    name="distil_multi_segment",
    config=DistilMultiSegmentStepConfig,
    parents=("base", "student", "latents"),
    outputs=("student",),
)


def run(context: StepContext[DistilMultiSegmentStepConfig]) -> Mapping[str, str]:
    """Go on from stage C1's student and critic behind the student's own segments."""
    folder = context.folder("student")
    student, _ = load_model(folder)
    return distil_stage(context, context.config, student, critic=critic_of(folder))
