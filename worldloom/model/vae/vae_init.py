"""Starting values for the video VAE: principal components of patches as its linear shortcuts.

From nothing a small convolutional autoencoder loses minutes to colours and coarse shapes; started
at PCA its first reconstruction is the best linear one, and training only adds to it. It does not
know where the clips come from.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from worldloom.model.vae.vae_coder import group_frames
from worldloom.model.vae.video_vae import VideoVAE

MAX_PATCHES = 200_000


@torch.no_grad()
def init_from_patches(vae: VideoVAE, patches: Float[Tensor, "N D"]) -> None:
    """Set both shortcuts to the leading principal components, scaled to unit variance.

    Args:
        vae: its convolutional branches must still answer zero.
        patches: `[N, patch_values]` from `video_patches`, N at least twice `latent_channels`.
    """
    config = vae.config
    if patches.shape[0] < 2 * config.latent_channels:
        message = f"{patches.shape[0]} patches: expected at least {2 * config.latent_channels}"
        raise ValueError(message)
    values = patches.double()
    mean = values.mean(dim=0)
    centred = values - mean
    eigenvalues, eigenvectors = torch.linalg.eigh(centred.T @ centred / len(values))
    basis = eigenvectors[:, -config.latent_channels :].flip(1)
    std = eigenvalues[-config.latent_channels :].flip(0).clamp(min=1e-8).sqrt()
    basis = basis * torch.sign(basis.sum(dim=0)).where(basis.sum(dim=0) != 0, 1.0)
    to_latent = (basis / std).T
    to_patch = basis * std
    _set_linear(vae.encoder.shortcut, to_latent, -(to_latent @ mean))
    _set_linear(vae.decoder.shortcut, to_patch, mean)


def video_patches(
    video: Float[Tensor, "B RGB F Y X"], stride: int, generator: torch.Generator
) -> Float[Tensor, "N D"]:
    """Cut `[B, 3, F, H, W]` into the patches `[N, 12 stride^2]` that latents stand for.

    More than `MAX_PATCHES` are thinned by a draw from `generator`.
    """
    folded = group_frames(video, is_first=True).flatten(0, 1)
    patches = functional.pixel_unshuffle(folded, stride).movedim(1, -1).flatten(0, 2)
    if len(patches) > MAX_PATCHES:
        chosen = torch.randperm(len(patches), generator=generator)[:MAX_PATCHES]
        patches = patches[chosen]
    return patches


def _set_linear(layer: torch.nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight[:, :, None, None])
    if layer.bias is not None:
        layer.bias.copy_(bias)
