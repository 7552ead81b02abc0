"""The shape of the Wan2.2 video VAE as data, apart from the code that needs torch.

Source: the public file `wan/modules/vae2_2.py` of Wan2.2 (layer sizes, names, the statistics of
its latents). It does not know layers, weights or devices.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.frames import TEMPORAL_STRIDE

RGB = 3
PIXEL_MULTIPLE = 2
"""A frame's edges must hold this many latents or a multiple: the transformer's patch is 2 x 2."""

# Per-channel mean and standard deviation of the raw latents, as published with Wan2.2.
WAN22_LATENT_MEAN = (
    *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557),
    *(-0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825),
    *(-0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
    *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230),
    *(-0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748),
    *(0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
)
WAN22_LATENT_STD = (
    *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013),
    *(0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978),
    *(0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
    *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093),
    *(0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887),
    *(0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
)


class WanVAEConfig(Config):
    """Shapes of the causal video VAE of Wan2.2: stride 4 x 16 x 16, 48 channels by default."""

    latent_channels: int = Field(48, ge=1, description="channels of a latent")
    pixel_patch: int = Field(
        2, ge=1, description="pixels of the square that is folded into channels at the pixel end"
    )
    encoder_width: int = Field(160, ge=1, description="channels of the encoder's finest stage")
    decoder_width: int = Field(
        256, ge=1, description="channels of the full decoder's finest stage, before any is removed"
    )
    multipliers: tuple[int, ...] = Field(
        (1, 2, 4, 4), min_length=2, description="width of each stage over the finest, finest first"
    )
    encoder_blocks: int = Field(2, ge=1, description="residual blocks a stage of the encoder")
    decoder_blocks: int = Field(3, ge=1, description="residual blocks a stage of the decoder")
    temporal_downsample: tuple[bool, ...] = Field(
        (False, True, True),
        description="whether each stage but the coarsest halves time too, finest first",
    )
    decoder_removed: float = Field(
        0.0, ge=0, lt=1, description="share of the channels that every decoder stage lacks"
    )
    latent_mean: tuple[float, ...] = Field(
        WAN22_LATENT_MEAN, description="mean of each channel of the raw latents"
    )
    latent_std: tuple[float, ...] = Field(
        WAN22_LATENT_STD, description="standard deviation of each channel of the raw latents"
    )

    @model_validator(mode="after")
    def _stages_fit(self) -> WanVAEConfig:
        num_halvings = len(self.multipliers) - 1
        halves_time = self.temporal_downsample
        if len(halves_time) != num_halvings or 2 ** sum(halves_time) != TEMPORAL_STRIDE:
            message = (
                f"temporal_downsample={halves_time}: expected {num_halvings} values, "
                f"true where time is halved, to a stride of {TEMPORAL_STRIDE} frames"
            )
            raise ValueError(message)
        ratios = {coarse / fine for fine, coarse in pairwise((1, *self.multipliers))}
        if not ratios <= {1, 2, 4} or self.multipliers[-1] != self.multipliers[-2]:
            message = (
                f"multipliers={self.multipliers}: expected each to be 1, 2 or 4 times the one "
                "before, and the last two equal (the shortcuts group whole channels)"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _statistics_fit(self) -> WanVAEConfig:
        for name, values in (("latent_mean", self.latent_mean), ("latent_std", self.latent_std)):
            if len(values) != self.latent_channels:
                message = (
                    f"{name}: {len(values)} values, expected latent_channels={self.latent_channels}"
                )
                raise ValueError(message)
        if min(self.latent_std) <= 0:
            message = f"latent_std: {min(self.latent_std)}, expected only values above 0"
            raise ValueError(message)
        return self

    @property
    def spatial_stride(self) -> int:
        """Pixels of a latent's edge."""
        return int(self.pixel_patch * 2 ** (len(self.multipliers) - 1))

    @property
    def pixel_multiple(self) -> int:
        """Pixels that a frame's height and width must be multiples of."""
        return PIXEL_MULTIPLE * self.spatial_stride

    @property
    def patch_channels(self) -> int:
        """Channels of a frame once its pixel squares are folded into them."""
        return RGB * self.pixel_patch**2

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels before the first encoder stage and after each, finest first."""
        return tuple(self.encoder_width * factor for factor in (1, *self.multipliers))

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels before the first decoder stage and after each, coarsest first."""
        width = max(1, round(self.decoder_width * (1 - self.decoder_removed)))
        factors = (self.multipliers[-1], *reversed(self.multipliers))
        return tuple(width * factor for factor in factors)
