"""Rays into tokens: an embedding, then a scale and a shift in every block (Matrix-Game 3.0).

Each token carries the (origin, direction) rays of its pixels; P = E + V2 SiLU(V1 E) with E = W
rays. Every block has h = P + W2 SiLU(W1 P), and x <- (1 + Ws h) x + Wb h; Ws and Wb start at zero.
All of it follows from poses alone, so a segment computes it once for all its denoising steps.
It does not know how rays come about: `worldloom.camera` does.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class RayEmbedding(nn.Module):
    """Embed the rays of a token's pixels."""

    def __init__(self, ray_dim: int, dim: int) -> None:
        """Build the projection and its residual correction."""
        super().__init__()
        self.patch = nn.Linear(ray_dim, dim)
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)

    def forward(self, rays: Float[Tensor, "B L R"]) -> Float[Tensor, "B L E"]:
        """Return embedded rays."""
        embedded = self.patch(rays)
        corrected: Tensor = embedded + self.outer(F.silu(self.inner(embedded)))
        return corrected


class CameraInjector(nn.Module):
    """Scale and shift of one block, from embedded rays."""

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

    def forward(
        self, rays_BLE: Float[Tensor, "B L E"]
    ) -> tuple[Float[Tensor, "B L E"], Float[Tensor, "B L E"]]:
        """Return (scale, shift)."""
        hidden = rays_BLE + self.outer(F.silu(self.inner(rays_BLE)))
        return self.scale(hidden), self.shift(hidden)
