"""Settings of the student's distillation, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.rollout.config import SamplerConfig
from worldloom.train.config import LearnerConfig


class DistillationConfig(Config):
    """Distribution matching distillation on the student's own rollouts."""

    num_steps: int = Field(60, ge=1, description="updates of the student")
    batch_clips: int = Field(8, ge=1, description="clips of an update")
    min_segments: int = Field(
        1, ge=1, description="shortest self-rollout, segments, the scored one among them"
    )
    max_segments: int = Field(
        3, ge=1, description="longest self-rollout; 1 leaves the past as recorded (cold start)"
    )
    rollouts: Literal["fresh", "persistent"] = Field(
        "fresh",
        description="fresh: roll out anew for every update; persistent: score one more segment of "
        "the same rollouts at every update, which costs one segment however long they are",
    )
    compilation: Literal["none", "blocks", "recorded", "recorded_blocks"] = Field(
        "none",
        description="blocks: each block's passes as fused kernels; recorded: passes as they are, "
        "recorded and replayed as CUDA graphs; recorded_blocks: both",
    )
    draws_noise_on_device: bool = Field(
        False,
        description="draw noise where the networks are: faster on a GPU, other than a CPU's",
    )
    critic_updates_per_student_update: int = Field(
        3, ge=1, description="updates of the critic for each of the student"
    )
    teacher_steps_shift: float = Field(
        3.0, gt=0, description="shift of the noise levels at which scores are compared"
    )
    min_sigma: float = Field(0.05, ge=0, lt=1, description="lowest level of a score, unshifted")
    max_sigma: float = Field(0.98, gt=0, le=1, description="highest level of a score, unshifted")
    hide_context_probability: float = Field(
        0.2, ge=0, le=1, description="rollouts whose scored segment sees its latest latent alone"
    )
    regression_weight: float = Field(
        0.25, ge=0, description="weight of the squared error to the recorded latents"
    )
    sampler: SamplerConfig = Field(
        default_factory=lambda: SamplerConfig(), description="the student's noise levels"
    )
    log_every_steps: int = Field(1, ge=1, description="student updates between logged metrics")
    checkpoint_every_steps: int = Field(20, ge=1, description="student updates between saves")
    seed: int = Field(0, ge=0, description="seed of every draw, with the step's number")
    deterministic: bool = Field(
        True, description="refuse operations whose result depends on thread timing"
    )
    num_threads: int = Field(0, ge=0, description="threads of torch's CPU kernels; 0: as set")
    student: LearnerConfig = Field(
        default_factory=lambda: LearnerConfig(learning_rate=5e-5, betas=(0.0, 0.99)),
        description="how the student is updated",
    )
    critic: LearnerConfig = Field(
        default_factory=lambda: LearnerConfig(learning_rate=1e-4, betas=(0.0, 0.99), ema_decay=0.0),
        description="how the critic is updated",
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.min_segments > self.max_segments:
            message = (
                f"min_segments={self.min_segments}: expected at most max_segments, "
                f"{self.max_segments}"
            )
            raise ValueError(message)
        return self
