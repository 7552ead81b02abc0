"""The smallest VAE of Wan2.2's layout, with random weights everywhere; not a test."""

from __future__ import annotations

import math

import torch
from torch import nn

from worldloom.model.vae.wan_vae import WanVAE
from worldloom.model.vae.wan_vae_config import WanVAEConfig

CHANNELS = 4
WAN_CONFIG = WanVAEConfig(
    latent_channels=CHANNELS,
    latent_mean=(0.1, -0.2, 0.0, 0.3),
    latent_std=(0.5, 1.0, 2.0, 0.8),
    encoder_width=8,
    decoder_width=8,
)


def tiny_wan_vae(config: WanVAEConfig = WAN_CONFIG) -> WanVAE:
    """Return a VAE whose every tensor says something, norms and last layers included."""
    return randomise(WanVAE.from_config(config)).eval()


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights by their fan-in, and norms around one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    return module


def tiny_latents(num_latents: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    """Return latents `[B, 4, T, 2, 4]`, of 32 x 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS, num_latents, 2, 4, generator=generator)


def tiny_video(num_frames: int, batch: int = 1, seed: int = 2) -> torch.Tensor:
    """Return frames `[B, 3, F, 32, 64]` in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(batch, 3, num_frames, 32, 64, generator=generator) - 1
