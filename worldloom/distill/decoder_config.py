"""Settings of the pruned decoder's distillation, apart from the code that needs torch."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config


def decoder_part(removed: float) -> str:
    """Return the name of a folder of weights without this share of the channels: `decoder-50`."""
    return f"decoder-{round(100 * removed)}"


class DecoderObjectiveConfig(Config):
    """Batches and loss weights of a pruned VAE decoder."""

    removed: float = Field(
        0.5, ge=0, lt=1, description="share of the channels that are cut out of every stage"
    )
    batch_size: int = Field(8, ge=1, description="windows a step")
    window_frames: int = Field(13, ge=5, description="frames of a window, 4n+1")
    l1_weight: float = Field(1.0, ge=0, description="weight of the mean absolute error")
    l2_weight: float = Field(1.0, ge=0, description="weight of the mean squared error")
    gradient_weight: float = Field(0.25, ge=0, description="weight of the spatial difference error")
    texture_weight: float = Field(0.1, ge=0, description="weight of the error of local contrast")
    temporal_weight: float = Field(0.25, ge=0, description="weight of the frame difference error")
    feature_weight: float = Field(
        0.1, ge=0, description="weight of the kept channels' distance from the wide decoder's"
    )
    latent_noise: float = Field(
        0.1, ge=0, description="standard deviation of the noise both decoders see, latent units"
    )
    is_recorded: bool = Field(
        False,
        description="on a GPU both decoders' passes are recorded and replayed as CUDA graphs",
    )
    evaluation_windows: int = Field(16, ge=1, description="held-out windows of an evaluation")
