"""What the Wan2.2 VAE costs, counted on torch's meta device: parameters, operations, cache.

The real modules are built and run there without memory, so nothing is a formula beside them. It
does not know devices or their speed.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from worldloom.config import Config
from worldloom.model.vae.wan_vae import WanVAE
from worldloom.model.vae.wan_vae_config import WanVAEConfig


class WanVAECost(Config):
    """What a VAE costs at one resolution, per latent frame behind latent 0."""

    encoder_parameters: int = Field(description="parameters from pixels to latents")
    decoder_parameters: int = Field(description="parameters from latents to pixels")
    encode_flops: int = Field(description="operations of encoding one latent (4 frames)")
    decode_flops: int = Field(description="operations of decoding one latent (4 frames)")
    decode_cache_values: int = Field(description="numbers that a decoding stream keeps")


def wan_vae_cost(config: WanVAEConfig, resolution: tuple[int, int]) -> WanVAECost:
    """Count the cost at a resolution (height, width) in pixels; a product and its sum are two.

    Raises:
        ValueError: when the resolution does not fit the VAE.
    """
    height, width = resolution
    with torch.device("meta"), torch.inference_mode():
        vae = WanVAE.from_config(config)
        video = torch.empty(1, 3, 5, height, width)
        first, encoder_cache = vae.encoder(video[:, :, :1])
        _, decoder_cache = vae.decoder(first)
        encoding, decoding = FlopCounterMode(display=False), FlopCounterMode(display=False)
        with encoding:
            latent, _ = vae.encoder(video[:, :, 1:], encoder_cache)
        with decoding:
            vae.decoder(latent, decoder_cache)
    return WanVAECost(
        encoder_parameters=sum(p.numel() for p in vae.encoder.parameters()),
        decoder_parameters=sum(p.numel() for p in vae.decoder.parameters()),
        encode_flops=encoding.get_total_flops(),
        decode_flops=decoding.get_total_flops(),
        decode_cache_values=sum(kept.numel() for kept in decoder_cache.features.values()),
    )
