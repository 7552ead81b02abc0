"""Task `distil_student`: the base model to a few-step student, by distribution matching.

The student starts from the starter's student, or from the base model itself. The squared error of
few-step rollouts on held-out clips is written down for the start and the end. Progress and losses
go to the tracker.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping

from components.distillation.student_config import DistilStudentStepConfig
from components.runtime import Step, StepContext
from components.starter import starter_folder
from worldloom.data.latents import read_latents
from worldloom.distill.dmd import Distillation
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.train.model_checkpoint import WEIGHTS_FILE, load_model, save_model

logger = logging.getLogger(__name__)

STEP = Step(
    name="distil_student",
    config=DistilStudentStepConfig,
    parents=("base", "latents"),
    outputs=("student",),
)


def run(context: StepContext[DistilStudentStepConfig]) -> Mapping[str, str]:
    """Distil, measure and store the student."""
    config = context.config
    teacher, known = load_model(context.folder("base"))
    student = _starting_point(config, teacher)
    latents = context.folder("latents")
    run_ = Distillation(
        config.distillation,
        teacher=teacher,
        student=student,
        train=read_latents(latents, "train"),
        held_out=read_latents(latents, "test"),
        retrieval=known.retrieval,
    )
    before = run_.rollout_error(copy.deepcopy(student).eval(), config.measured_segments)
    state = run_.run(context.scratch / "distillation", context.tracker)
    student.load_state_dict(state)
    after = run_.rollout_error(student.eval(), config.measured_segments)
    folder = context.fresh_folder("student")
    save_model(folder, student, sampler=config.distillation.sampler, retrieval=known.retrieval)
    metrics = {
        "rollout_error_before": before,
        "rollout_error_after": after,
        "history": run_.history,
    }
    folder.joinpath("metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    log_event(logger, "student_distilled", before=before, after=after)
    return {"student": context.commit(folder, "student-checkpoint")}


def _starting_point(
    config: DistilStudentStepConfig, teacher: WorldModelTransformer
) -> WorldModelTransformer:
    if not config.starter:
        return copy.deepcopy(teacher)
    student, _ = load_model(starter_folder("student", WEIGHTS_FILE, config.starter))
    return student
