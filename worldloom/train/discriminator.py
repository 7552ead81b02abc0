"""Tells recorded frames from decoded ones patch by patch, so that a decoder learns fine detail.

A decoder that is judged by distances alone answers the mean of what a latent could stand for: a
blur. A net that only has to tell the two apart asks for one of the possible details instead
(patch-wise adversarial training with the hinge loss; spectral norms keep it from running away).
It does not know the decoder, nor the other losses.

Letters: N frames, H W rows and columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_WIDTHS = (48, 96, 192)
_SLOPE = 0.2

Frames = Float[Tensor, "N RGB H W"]
Verdict = Float[Tensor, "N 1 _ _"]


class PatchDiscriminator(nn.Module):
    """One score for every patch of about 30 pixels of a frame: above 0 for recorded."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        self.stages = nn.ModuleList(
            spectral_norm(nn.Conv2d(fine, coarse, 4, stride=2, padding=1))
            for fine, coarse in pairwise(widths)
        )
        self.head = spectral_norm(nn.Conv2d(_WIDTHS[-1], 1, 3, padding=1))

    def forward(self, frames: Frames) -> Verdict:
        """Return the scores of frames in [-1, 1]."""
        features = frames
        for stage in self.stages:
            features = functional.leaky_relu(stage(features), _SLOPE)
        verdict: Tensor = self.head(features)
        return verdict


def own_loss(discriminator: PatchDiscriminator, decoded: Frames, recorded: Frames) -> Tensor:
    """Return the hinge loss that the discriminator learns from; nothing else gets a gradient."""
    of_recorded = functional.relu(1 - discriminator(recorded)).mean()
    of_decoded = functional.relu(1 + discriminator(decoded.detach())).mean()
    return of_recorded + of_decoded


def fooling_loss(discriminator: PatchDiscriminator, decoded: Frames) -> Tensor:
    """Return how little the discriminator takes frames for recorded; it learns nothing by it."""
    discriminator.requires_grad_(requires_grad=False)
    try:
        verdict: Tensor = discriminator(decoded)
    finally:
        discriminator.requires_grad_(requires_grad=True)
    return -verdict.mean()


def balance(distance: Tensor, fooling: Tensor, decoded: Tensor) -> Tensor:
    """Return the factor that makes both losses pull on the decoded frames equally hard."""
    pull, other = (
        torch.autograd.grad(loss, decoded, retain_graph=True)[0].norm()
        for loss in (distance, fooling)
    )
    ratio: Tensor = (pull / other.clamp_min(1e-8)).detach()
    return ratio
