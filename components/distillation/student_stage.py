"""What the tasks that distil a student share: distil, measure, store.

The squared error of few-step rollouts on held-out clips is written down for the start and the end.
It does not know which stage it is.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from components.distillation.student_config import DistilStageConfig
from components.runtime import StepContext
from worldloom.config import ConfigT
from worldloom.data.latents import read_latents
from worldloom.distill.dmd import Distillation
from worldloom.log import log_event
from worldloom.model.transformer import WorldModelTransformer
from worldloom.train.model_checkpoint import CONFIG_FILE, load_model, save_model

logger = logging.getLogger(__name__)

CRITIC_FOLDER = "critic"


def distil_stage(
    context: StepContext[ConfigT],
    config: DistilStageConfig,
    student: WorldModelTransformer | None,
    *,
    critic: WorldModelTransformer | None = None,
    keeps_critic: bool = False,
) -> Mapping[str, str]:
    """Distil the task's base model and store the student.

    Args:
        context: the task's.
        config: what the stage is told.
        student: where it starts; None: at the base model.
        critic: where the critic starts; None: at the base model.
        keeps_critic: store the critic beside the student, for the stage after.
    """
    teacher, known = load_model(context.folder("base"))
    student = student or copy.deepcopy(teacher)
    latents = context.folder("latents")
    run = Distillation(
        config.distillation,
        teacher=teacher,
        student=student,
        critic=critic,
        train=read_latents(latents, "train"),
        held_out=read_latents(latents, "test"),
        retrieval=known.retrieval,
    )
    before = run.rollout_error(copy.deepcopy(student).eval(), config.measured_segments)
    state = run.run(context.scratch / "distillation", context.tracker)
    student.load_state_dict(state)
    after = run.rollout_error(student.eval(), config.measured_segments)
    folder = context.fresh_folder("student")
    save_model(folder, student, sampler=config.distillation.sampler, retrieval=known.retrieval)
    if keeps_critic:
        save_model(
            folder / CRITIC_FOLDER, run.critic, sampler=known.sampler, retrieval=known.retrieval
        )
    metrics = {
        "rollout_error_before": before,
        "rollout_error_after": after,
        "history": run.history,
    }
    folder.joinpath("metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    log_event(logger, "student_distilled", before=before, after=after)
    return {"student": context.commit(folder, "student-checkpoint")}


def critic_of(folder: Path) -> WorldModelTransformer | None:
    """Return the critic that a stage before stored beside its student, if it did."""
    if not (folder / CRITIC_FOLDER / CONFIG_FILE).is_file():
        return None
    critic, _ = load_model(folder / CRITIC_FOLDER)
    return critic
