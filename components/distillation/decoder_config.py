"""Settings of the task `distil_decoder`. It imports nothing the task works with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import RecipeConfig
from worldloom.distill.decoder_config import DecoderObjectiveConfig
from worldloom.train.config import LearnerConfig, TrainerConfig


class DistilDecoderStepConfig(RecipeConfig):
    """How a narrow VAE decoder is cut from the full one and taught by it."""

    starter: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="sha256 of the starter's narrow decoder, which WORLDLOOM_STARTER holds as "
        "decoder-50/decoder.safetensors (by the share removed) and which is taught further; empty "
        "cuts one from the VAE",
    )
    objective: DecoderObjectiveConfig = Field(
        DecoderObjectiveConfig(), description="channels removed, batches and loss weights"
    )
    trainer: TrainerConfig = Field(
        TrainerConfig(
            num_steps=200,
            checkpoint_every_steps=50,
            num_threads=2,
            learner=LearnerConfig(learning_rate=2e-3, warmup_steps=10, precision="bf16"),
        ),
        description="steps, checkpoints and learning rate",
    )
    max_clips: int = Field(256, ge=1, description="training clips held in memory, the first ones")
    max_held_out_clips: int = Field(32, ge=1, description="held-out clips that are measured")
