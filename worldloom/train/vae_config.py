"""Batches and loss weights of the video VAE, apart from the code that needs torch."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config


class VAEObjectiveConfig(Config):
    """Batches and loss weights of the video VAE."""

    batch_size: int = Field(8, ge=1, description="windows a step")
    window_frames: int = Field(13, ge=5, description="frames of a window, 4n+1")
    train_encoder: bool = Field(True, description="false freezes the encoder and its latents")
    l1_weight: float = Field(1.0, ge=0, description="weight of the mean absolute error")
    l2_weight: float = Field(1.0, ge=0, description="weight of the mean squared error")
    gradient_weight: float = Field(0.5, ge=0, description="weight of the spatial difference error")
    texture_weight: float = Field(
        0.25, ge=0, description="weight of the error of local contrast, which blur would lose"
    )
    temporal_weight: float = Field(0.25, ge=0, description="weight of the frame difference error")
    adversarial_weight: float = Field(
        0.0,
        ge=0,
        description="pull of a discriminator on decoded frames, as a part of the pull of all "
        "distances; 0 has none. For a last leg with the encoder frozen and a low rate",
    )
    adversarial_frames: int = Field(
        4, ge=1, description="frames of a window that the discriminator looks at"
    )
    adversarial_from_step: int = Field(
        500, ge=0, description="step from which on it pulls; it learns from the first"
    )
    latent_weight: float = Field(
        0.01, ge=0, description="weight of the latents' distance from zero mean, unit deviation"
    )
    latent_noise: float = Field(
        0.1, ge=0, description="standard deviation of the noise the decoder sees, latent units"
    )
    is_recorded: bool = Field(
        False, description="replay steps as CUDA graphs, where there are such"
    )
    evaluation_windows: int = Field(16, ge=1, description="held-out windows of an evaluation")
