"""Rotary embedding over geometry: where a token is in time, which way its ray points, from where.

A token's coordinates are (age, azimuth, elevation, x, z) in the frame of the current segment's
anchor camera: latents, radians, radians, metres, metres. Each rotary pair turns with one of them,
so attention sees relative time and relative geometry, and a committed latent's keys stay valid for
ever: they are stored un-rotated and turned to the anchor of whoever reads them. Rotating the
values too, and turning the result back by the query, hands the reader the offset itself
(geometric transform attention, Miyato et al. 2024).
Azimuth frequencies are integers, so a full turn comes back to itself. The time base differs a
little from head to head (jittered RoPE, Matrix-Game 3.0). It does not know what a token holds.

Letters: B batch, L tokens, N heads, D channels of a head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

NUM_COORDINATES = 5
AGE, AZIMUTH, ELEVATION, X, Z = range(NUM_COORDINATES)

Coordinates = Float[Tensor, "B L 5"]
Angles = Float[Tensor, "B L N P"]

# Shares of the rotary pairs, and the slowest and fastest frequency of each coordinate (radians a
# unit). Azimuth and elevation must tell neighbouring tokens apart; x and z span a room.
_SHARES = ((AGE, 3), (AZIMUTH, 5), (ELEVATION, 3), (X, 2), (Z, 3))
_RANGES = {AGE: (0.05, 1.0), ELEVATION: (2.0, 12.0), X: (0.4, 1.6), Z: (0.3, 1.6)}


class GeometryRope(nn.Module):
    """Turn coordinates into rotary angles, one set of frequencies a head."""

    def __init__(self, head_dim: int, num_heads: int, jitter: float) -> None:
        """Build the frequency table [N, 5, D/2]."""
        super().__init__()
        pairs = _pairs_by_coordinate(head_dim // 2)
        table = torch.zeros(num_heads, NUM_COORDINATES, head_dim // 2)
        spread = torch.linspace(-1, 1, num_heads) if num_heads > 1 else torch.zeros(1)
        start = 0
        for coordinate, count in pairs:
            frequencies = _frequencies(coordinate, count)
            scale = 1 + jitter * spread if coordinate == AGE else torch.ones(num_heads)
            table[:, coordinate, start : start + count] = scale[:, None] * frequencies
            start += count
        self.table: Tensor
        self.register_buffer("table", table, persistent=False)

    def forward(self, coordinates: Coordinates) -> tuple[Angles, Angles]:
        """Return (cosine, sine) [B, L, N, D/2] of coordinates [B, L, 5]."""
        angles = torch.einsum("blc,ncp->blnp", coordinates, self.table)
        return angles.cos(), angles.sin()


def rotate(x_BLND: Tensor, rotation: tuple[Tensor, Tensor], *, inverse: bool = False) -> Tensor:
    """Turn each channel pair (i, i + D/2) by its angle, or back with `inverse`."""
    cosine, sine = rotation
    if inverse:
        sine = -sine
    first, second = x_BLND.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def _pairs_by_coordinate(num_pairs: int) -> list[tuple[int, int]]:
    whole = sum(share for _, share in _SHARES)
    counts = [max(1, share * num_pairs // whole) for _, share in _SHARES]
    counts[AZIMUTH] += num_pairs - sum(counts)
    if counts[AZIMUTH] < 1:
        message = f"head_dim {2 * num_pairs}: expected at least {2 * NUM_COORDINATES} channels"
        raise ValueError(message)
    return [(coordinate, count) for (coordinate, _), count in zip(_SHARES, counts, strict=True)]


def _frequencies(coordinate: int, count: int) -> Tensor:
    if coordinate == AZIMUTH:
        return torch.logspace(0, 4, count, base=2).round()
    slow, fast = _RANGES[coordinate]
    return torch.logspace(0, 1, count, base=fast / slow) * slow
