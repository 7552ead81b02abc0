"""Settings of the tasks `train_vae` and `encode_latents`. It imports nothing they work with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config, RecipeConfig
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.vae_config import VAEObjectiveConfig


class TrainVaeStepConfig(RecipeConfig):
    """How the video VAE is trained, or its starter's decoder fine-tuned."""

    starter: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="sha256 of the starter's weights, which WORLDLOOM_STARTER holds as "
        "vae/vae.safetensors: its encoder stays as it is and its decoder is fine-tuned; "
        "empty trains all from nothing",
    )
    vae: VAEConfig = Field(VAEConfig(), description="shapes, when trained from nothing")
    objective: VAEObjectiveConfig = Field(
        VAEObjectiveConfig(), description="batches and loss weights"
    )
    trainer: TrainerConfig = Field(
        TrainerConfig(
            num_steps=60,
            checkpoint_every_steps=20,
            num_threads=2,
            learner=LearnerConfig(learning_rate=3e-4, warmup_steps=10, precision="bf16"),
        ),
        description="steps, checkpoints and learning rate",
    )
    max_clips: int = Field(256, ge=1, description="training clips held in memory, the first ones")
    max_held_out_clips: int = Field(32, ge=1, description="held-out clips that are measured")


class EncodeLatentsStepConfig(Config):
    """How clips become latents."""

    num_frames: int = Field(
        0, ge=0, description="frames of a clip that are encoded, 4n+1; 0: the shortest clip's"
    )
    batch_clips: int = Field(4, ge=1, description="clips encoded at once")
    num_threads: int = Field(2, ge=0, description="threads of torch's CPU kernels; 0: as they are")
