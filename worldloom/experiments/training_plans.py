"""What an experiment's arms are trained by, where a claim rests on trainings of their own: data.

All arms of an experiment take equal optimiser steps on the same clips in the same order. Where they
part late (self-correction makes no sense before there is a model) they share their first steps. It
does not know how training is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from worldloom.config import Config
from worldloom.errors import ConfigError

TrainingKind = Literal["flow", "distillation"]


class ArmTraining(Config):
    """What one arm is trained by."""

    shape: tuple[str, ...] = Field((), description="path=value over the preset's transformer")
    objective: tuple[str, ...] = Field((), description="path=value over the recipe's objective")


class TrainingPlan(Config):
    """What the arms of one experiment are trained by."""

    kind: TrainingKind = Field(
        "flow", description="flow: matching on recorded clips; distillation: few steps from `base`"
    )
    shape: tuple[str, ...] = Field((), description="path=value over the preset's shape, for all")
    objective: tuple[str, ...] = Field((), description="path=value over the recipe, for all")
    shared: ArmTraining | None = Field(
        None, description="what all arms begin with, once for each seed; None: they begin apart"
    )
    arms: Mapping[str, ArmTraining] = Field(description="by the arm's name")


# Nothing remembered and two latents of past: what a walk gets wrong is soon all that it sees.
_FORGETFUL = ("num_memory_latents=0", "num_past_latents=2")
_OWN_ROLLOUTS = (
    "self_correction.source=rollout",
    "self_correction.rollout_clips=16",
    "error_buffer.probability=1",
)

TRAINING_PLANS: Mapping[str, TrainingPlan] = {
    "error-buffer": TrainingPlan(
        shape=_FORGETFUL,
        objective=("error_buffer.warmup_steps=0",),
        shared=ArmTraining(objective=("self_correction.source=none",)),
        arms={
            "none": ArmTraining(objective=("self_correction.source=none",)),
            "uniform": ArmTraining(objective=("self_correction.source=buffer",)),
            "matched": ArmTraining(objective=("self_correction.source=resampled",)),
            "rollout": ArmTraining(objective=_OWN_ROLLOUTS),
            "cache": ArmTraining(objective=(*_OWN_ROLLOUTS, "error_buffer.min_strength=1")),
        },
    ),
    "reach": TrainingPlan(
        arms={
            "latent": ArmTraining(shape=("reach=latent",)),
            "segment": ArmTraining(shape=("reach=segment",)),
            "window": ArmTraining(shape=("reach=window", "accepts_inexact_replay=true")),
            "bidirectional": ArmTraining(shape=("reach=bidirectional",)),
        },
        objective=("self_correction.source=none",),
    ),
    "student": TrainingPlan(
        kind="distillation",
        arms={
            "multi-segment": ArmTraining(
                objective=(
                    "max_segments=6", "rollouts=persistent", "hide_context_probability=0.2",
                )
            ),
            "single-segment": ArmTraining(),
        },
        objective=("critic_updates_per_student_update=3",),
    ),
}  # fmt: skip


def training_plan(name: str) -> TrainingPlan:
    """Return how an experiment's arms are trained.

    Raises:
        ConfigError: for an experiment whose arms are not trained, listing those whose are.
    """
    if name not in TRAINING_PLANS:
        message = (
            f"experiment {name!r}: its arms need no training of their own, expected one of "
            f"{', '.join(TRAINING_PLANS)}"
        )
        raise ConfigError(message)
    return TRAINING_PLANS[name]
