"""The shape of the video VAE as data, apart from the code that needs torch."""

from __future__ import annotations

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.frames import TEMPORAL_STRIDE

RGB = 3
GROUP_CHANNELS = TEMPORAL_STRIDE * RGB


class VAEConfig(Config):
    """Shapes of the causal video VAE."""

    latent_channels: int = Field(16, ge=1, description="channels of a latent")
    spatial_stride: int = Field(8, ge=2, description="pixels of a latent's edge")
    encoder_widths: tuple[int, ...] = Field(
        (48, 64, 96), description="channels a stage, finest first; each stage halves the edge"
    )
    decoder_widths: tuple[int, ...] = Field(
        (112, 72, 48), description="channels a stage, coarsest first; each doubles the edge"
    )
    encoder_blocks: int = Field(1, ge=1, description="residual blocks a stage of the encoder")
    decoder_blocks: int = Field(1, ge=1, description="residual blocks a stage of the decoder")
    encoder_temporal_kernel: int = Field(
        1, ge=1, description="latent frames that the encoder's coarsest stage sees"
    )
    decoder_temporal_kernel: int = Field(
        2, ge=1, description="latent frames that the decoder's coarsest stage sees"
    )

    @model_validator(mode="after")
    def _edges_fit(self) -> VAEConfig:
        for widths in (self.encoder_widths, self.decoder_widths):
            if not widths or self.spatial_stride % 2 ** (len(widths) - 1):
                message = (
                    f"widths {widths}: {len(widths)} stages do not divide "
                    f"spatial_stride={self.spatial_stride} into halves"
                )
                raise ValueError(message)
        return self

    @property
    def patch_values(self) -> int:
        """Values of the patch that one latent vector stands for."""
        return GROUP_CHANNELS * self.spatial_stride**2
