"""Task `distil_student`: the base model to a few-step student, in one go.

The student starts from the starter's student, or from the base model itself. Progress and losses
go to the tracker.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.distillation.student_config import DistilStudentStepConfig
from components.distillation.student_stage import distil_stage
from components.runtime import Step, StepContext
from components.starter import starter_folder
from worldloom.train.model_checkpoint import WEIGHTS_FILE, load_model

STEP = Step(
    name="distil_student",
    config=DistilStudentStepConfig,
    parents=("base", "latents"),
    outputs=("student",),
)


def run(context: StepContext[DistilStudentStepConfig]) -> Mapping[str, str]:
    """Distil, measure and store the student."""
    config, student = context.config, None
    if config.starter:
        student, _ = load_model(starter_folder("student", WEIGHTS_FILE, config.starter))
    return distil_stage(context, config, student)
