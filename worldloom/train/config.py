"""Settings of the learner and of the training loop, apart from the code that needs torch.

A pipeline is compiled, and a step's settings are checked, without importing torch; so the two
classes stand here and `learner` and `trainer` export them again.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config

Optimizer = Literal["adamw", "muon"]


class LearnerConfig(Config):
    """How one module's parameters are updated."""

    optimizer: Optimizer = Field(
        "adamw",
        description="muon: matrices of a transformer's blocks by Muon, all else by AdamW; "
        "without ZeRO.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    matrix_rate_scale: float = Field(
        3.0, gt=0, description="Muon: rate of its matrices, as a multiple of AdamW's."
    )
    warmup_steps: int = Field(
        0, ge=0, description="Steps over which the learning rate rises linearly from 0."
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate after the warm-up."
    )
    decay_steps: int = Field(
        0,
        ge=0,
        description="Step at which a cosine schedule reaches its end (0: constant only).",
    )
    final_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Learning rate at the end of a cosine, as a part of the peak.",
    )
    betas: tuple[float, float] = Field((0.9, 0.99), description="Decay rates of AdamW's moments.")
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Decoupled weight decay of parameters with two or more axes.",
    )
    gradient_clip: float = Field(
        1.0, ge=0, description="Largest global gradient norm; 0 leaves gradients alone."
    )
    ema_decay: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="Decay of the parameters' moving average a step; it ramps up as "
        "(1 + step) / (10 + step), so that short runs are averaged too.",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="DeepSpeed ZeRO stage: what is split over processes."
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Arithmetic of matrix products; parameters stay in fp32."
    )
    micro_batch_size: int = Field(
        1, ge=1, description="Samples a process takes a step; DeepSpeed reports by it."
    )

    @model_validator(mode="after")
    def _cosine_has_an_end(self) -> LearnerConfig:
        if self.schedule == "cosine" and self.decay_steps <= self.warmup_steps:
            message = (
                f"decay_steps={self.decay_steps}: a cosine schedule must end after its warm-up "
                f"of {self.warmup_steps} steps"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _muon_sees_whole_matrices(self) -> LearnerConfig:
        if self.optimizer == "muon" and self.zero_stage:
            message = (
                f"zero_stage={self.zero_stage} beside optimizer 'muon': it needs whole matrices, "
                "expected 0"
            )
            raise ValueError(message)
        return self


class TrainerConfig(Config):
    """How long to train, how often to save and to judge, and from which seed."""

    num_steps: int = Field(ge=1, description="Optimiser steps in all.")
    checkpoint_every_steps: int = Field(
        100, ge=0, description="Steps between checkpoints; 0 saves at the end alone."
    )
    evaluate_every_steps: int = Field(
        0,
        ge=0,
        description="Steps between held-out evaluations; 0: before and after alone.",
    )
    seed: int = Field(0, ge=0, description="Seed of every draw, together with the step's number.")
    log_every_steps: int = Field(
        1,
        ge=1,
        description="Steps between metrics that are logged and reported; speed is averaged "
        "over them.",
    )
    prefetch_steps: int = Field(
        2, ge=0, description="Batches drawn ahead in a thread; 0 draws each when its step begins."
    )
    num_threads: int = Field(
        0,
        ge=0,
        description="Threads of torch's CPU kernels; 0 keeps the process's setting.",
    )
    deterministic: bool = Field(
        True, description="Refuse operations whose result depends on thread timing."
    )
    learner: LearnerConfig = Field(
        default_factory=lambda: LearnerConfig(),
        description="How parameters are updated.",
    )
