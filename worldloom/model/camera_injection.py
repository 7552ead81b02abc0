"""Rays into tokens: a scale and a shift in every block (Matrix-Game 3.0, section 1.6 of the code).

Each token carries the (origin, direction) rays of its latent pixels, seen from the anchor camera;
h = P + W2 SiLU(W1 P), then x <- (1 + Ws h) x + Wb h. Ws and Wb start at zero. The result depends
on poses alone, so a segment computes it once for all its denoising steps.
It does not know how rays come about: `worldloom.camera` does.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CameraInjector(nn.Module):
    """Scale and shift of one block, from embedded rays [B, L, E]."""

    def __init__(self, dim: int) -> None:
        """Build the four projections; scale and shift start at zero."""
        super().__init__()
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)
        self.scale = nn.Linear(dim, dim)
        self.shift = nn.Linear(dim, dim)
        for layer in (self.scale, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, rays_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Return (scale, shift), each [B, L, E]."""
        hidden = rays_BLE + self.outer(F.silu(self.inner(rays_BLE)))
        return self.scale(hidden), self.shift(hidden)
