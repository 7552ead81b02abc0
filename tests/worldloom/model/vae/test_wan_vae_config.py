"""The Wan2.2 VAE's shape: derived sizes, and what is refused."""

from __future__ import annotations

import pytest

from worldloom.config import parse_config
from worldloom.errors import ConfigError
from worldloom.model.vae.wan_vae_config import WAN22_LATENT_MEAN, WAN22_LATENT_STD, WanVAEConfig


def test_the_default_is_the_published_vae() -> None:
    config = WanVAEConfig()
    assert config.spatial_stride == 16
    assert config.pixel_multiple == 32
    assert config.patch_channels == 12
    assert config.encoder_widths == (160, 160, 320, 640, 640)
    assert config.decoder_widths == (1024, 1024, 1024, 512, 256)


@pytest.mark.parametrize(
    ("removed", "widths"), [(0.5, (512, 512, 512, 256, 128)), (0.75, (256, 256, 256, 128, 64))]
)
def test_removed_channels_narrow_the_decoder_alone(removed: float, widths: tuple[int]) -> None:
    config = WanVAEConfig(decoder_removed=removed)
    assert config.decoder_widths == widths
    assert config.encoder_widths == WanVAEConfig().encoder_widths


def test_statistics_are_those_of_48_channels() -> None:
    assert len(WAN22_LATENT_MEAN) == len(WAN22_LATENT_STD) == 48
    assert sum(WAN22_LATENT_MEAN) == pytest.approx(-0.5589, abs=1e-4)
    assert sum(WAN22_LATENT_STD) == pytest.approx(32.536, abs=1e-4)
    assert min(WAN22_LATENT_STD) == 0.3523
    assert max(WAN22_LATENT_STD) == 1.6887


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"latent_channels": 16}, "latent_mean: 48 values, expected latent_channels=16"),
        ({"latent_std": (0.0,) * 48}, "latent_std: 0.0, expected only values above 0"),
        ({"temporal_downsample": (True, True, True)}, "to a stride of 4 frames"),
        ({"temporal_downsample": (True, True)}, "expected 3 values"),
        ({"multipliers": (1, 2, 4, 8)}, "and the last two equal"),
        ({"multipliers": (1, 3, 3, 3)}, "1, 2 or 4 times the one before"),
        ({"decoder_removed": 1.0}, "less than 1"),
        ({"width": 3}, "width: no such setting"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_config(WanVAEConfig, values)
