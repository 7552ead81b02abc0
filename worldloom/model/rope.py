"""Rotary embedding: where a token lies, as angles that channel pairs turn by.

A token has coordinates; every rotary pair of a head turns with one of them, so attention sees
differences alone. Three sets of coordinates and frequencies:

* lattice: (latent, row, column), base 10,000 (Wan2.2, Matrix-Game 3.0).
* geometry: (age, azimuth, elevation, x, z) in the frame of the segment's anchor camera: latents,
  radians, radians, metres, metres. Azimuth frequencies are integers, so a full turn comes back to
  itself. Values turn too, and what is read is turned back by the query, which hands the reader the
  offset itself (geometric transform attention, Miyato et al. 2024).
* panorama: the coordinates of geometry at the frequencies of the lattice. Within a level view of
  90 degrees azimuth runs with the column and elevation against the row, so weights that learned on
  the lattice start it; the slowest pairs of the age, which hardly turn within its range, turn with
  x and z.

The base differs from head to head (jittered RoPE, sigma_theta in Matrix-Game 3.0). Committed keys
are stored un-rotated and turned by whoever reads them, so a key stays valid for ever.
It does not know what a token holds.

Letters: B batch, L tokens, N heads, D channels of a head, P rotary pairs (D / 2), K coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.config import TransformerConfig

AGE, AZIMUTH, ELEVATION, X, Z = range(5)
LATENT, ROW, COLUMN = range(3)

Angles = Float[Tensor, "B L N P"]
Rotation = tuple[Float[Tensor, "#B L #N P"], Float[Tensor, "#B L #N P"]]

_THETA = 10_000.0
# Geometry: shares of the rotary pairs, and the slowest and fastest frequency of each coordinate
# (radians a unit). Azimuth and elevation must tell neighbouring tokens apart; x and z span a room.
_SHARES = ((AGE, 3), (AZIMUTH, 5), (ELEVATION, 3), (X, 2), (Z, 3))
_RANGES = {AGE: (0.05, 1.0), ELEVATION: (2.0, 12.0), X: (0.4, 1.6), Z: (0.3, 1.6)}


def num_coordinates(config: TransformerConfig) -> int:
    """Return how many coordinates a token has."""
    return 3 if config.position == "lattice" else 5


class Frequencies(nn.Module):
    """Rotary frequencies, which keep their precision when a network changes its own.

    They follow a network to its device, and become float64 with it, but are never rounded to less
    than float32: an angle is a frequency times a number of latents or metres. They are worked out
    from a configuration, so no checkpoint holds them, and a network that was built without memory
    has them as soon as it is given some (`to_empty`).
    """

    table: Tensor

    def __init__(self, build: Callable[[], Float[Tensor, "*shape"]]) -> None:
        """Hold the float64 frequencies that `build` returns."""
        super().__init__()
        with torch.device("cpu"):
            self._exact = build()
        table = self._exact.float().to(torch.get_default_device())
        self.register_buffer("table", table, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frequencies:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        dtype = torch.promote_types(self.table.dtype, torch.float32)
        self.table = self._exact.to(device=self.table.device, dtype=dtype)
        return self


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Suspend autocast on a device, where there is such a thing (the meta device has none)."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class RotaryEmbedding(nn.Module):
    """Turn coordinates into rotary angles, one set of frequencies a head."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build the frequency table [N, K, P]."""
        super().__init__()
        build = {"lattice": lattice_table, "geometry": geometry_table, "panorama": panorama_table}
        self.frequencies = Frequencies(lambda: build[config.position](config))

    def forward(self, coordinates: Float[Tensor, "B L K"]) -> tuple[Angles, Angles]:
        """Return (cosine, sine) [B, L, N, P] of coordinates.

        Autocast is suspended: in bfloat16 angles of many radians would be off by tenths of one.
        """
        table = self.frequencies.table
        with full_precision(table.device):
            angles = torch.einsum("blc,ncp->blnp", coordinates.to(table.dtype), table)
        return angles.cos(), angles.sin()


def rotate(
    x_BLND: Float[Tensor, "B L N D"], rotation: Rotation, *, inverse: bool = False
) -> Float[Tensor, "B L N D"]:
    """Turn each channel pair (2i, 2i + 1) by its angle, or back with `inverse`.

    On a GPU one kernel does it, in float32, and returns the tokens' own precision; a compiler is
    given the formula, to fuse with what stands around it.
    """
    cosine, sine = rotation
    if x_BLND.is_cuda and not torch.compiler.is_compiling() and x_BLND.dtype != torch.float64:
        from worldloom.model.triton_rotate import turn_pairs  # Triton is not everywhere

        return turn_pairs(x_BLND, cosine, sine, inverse=inverse)
    if inverse:
        sine = -sine
    first, second = x_BLND.unflatten(-1, (-1, 2)).unbind(-1)
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.stack(turned, dim=-1).flatten(-2)


def lattice_table(config: TransformerConfig) -> Float[Tensor, "N 3 P"]:
    """Return the frequencies of latent, row and column, the pairs in that order."""
    table = torch.zeros(config.num_heads, 3, config.head_dim // 2, dtype=torch.float64)
    start = 0
    for coordinate, count in enumerate(_lattice_pairs(config)):
        table[:, coordinate, start : start + count] = _powers(config, count)
        start += count
    return table


def panorama_table(config: TransformerConfig) -> Float[Tensor, "N 5 P"]:
    """Return the lattice's frequencies for directions of a level view of 90 degrees."""
    of_time, of_rows, of_columns = _lattice_pairs(config)
    per_axis = max(1, of_time // 8)
    of_age = of_time - 2 * per_axis
    if of_age < 1:
        message = f"head_dim {config.head_dim}: too few channels for a panorama, expected 18"
        raise ValueError(message)
    table = torch.zeros(config.num_heads, 5, config.head_dim // 2, dtype=torch.float64)
    table[:, AGE, :of_age] = -_powers(config, of_time)[:, :of_age]  # an age grows as time falls
    table[:, X, of_age : of_age + per_axis] = _spaced(X, per_axis)
    table[:, Z, of_age + per_axis : of_time] = _spaced(Z, per_axis)
    rows = slice(of_time, of_time + of_rows)
    # Tokens a radian at the centre of the view; rows grow downwards, elevation upwards.
    table[:, ELEVATION, rows] = -config.token_rows / 2 * _powers(config, of_rows)
    table[:, AZIMUTH, rows.stop :] = config.token_cols / 2 * _powers(config, of_columns)
    return table


def geometry_table(config: TransformerConfig) -> Float[Tensor, "N 5 P"]:
    """Return frequencies chosen for ages, directions and metres."""
    num_heads, num_pairs = config.num_heads, config.head_dim // 2
    table = torch.zeros(num_heads, 5, num_pairs, dtype=torch.float64)
    spread = 1 + config.rope_jitter * _epsilon(num_heads)
    start = 0
    for coordinate, count in _geometry_pairs(num_pairs):
        scale = spread if coordinate == AGE else torch.ones_like(spread)
        table[:, coordinate, start : start + count] = scale[:, None] * _spaced(coordinate, count)
        start += count
    return table


def _epsilon(num_heads: int) -> Tensor:
    if num_heads == 1:
        return torch.zeros(1, dtype=torch.float64)
    return torch.linspace(-1, 1, num_heads, dtype=torch.float64)


def _powers(config: TransformerConfig, count: int) -> Tensor:
    """Return theta_h ** (-i / count) for i < count: [N, count]."""
    theta = _THETA * (1 + config.rope_jitter * _epsilon(config.num_heads))
    exponent = torch.arange(count, dtype=torch.float64) / count
    return theta[:, None] ** -exponent


def _lattice_pairs(config: TransformerConfig) -> tuple[int, int, int]:
    pairs = config.head_dim // 2
    third = pairs // 3
    if not third:
        message = f"head_dim {config.head_dim}: expected at least 6 channels for three coordinates"
        raise ValueError(message)
    return pairs - 2 * third, third, third


def _geometry_pairs(num_pairs: int) -> list[tuple[int, int]]:
    whole = sum(share for _, share in _SHARES)
    counts = [max(1, share * num_pairs // whole) for _, share in _SHARES]
    counts[AZIMUTH] += num_pairs - sum(counts)
    if counts[AZIMUTH] < 1:
        message = f"head_dim {2 * num_pairs}: expected at least {2 * len(_SHARES)} channels"
        raise ValueError(message)
    return [(coordinate, count) for (coordinate, _), count in zip(_SHARES, counts, strict=True)]


def _spaced(coordinate: int, count: int) -> Tensor:
    if coordinate == AZIMUTH:
        return torch.logspace(0, 4, count, base=2, dtype=torch.float64).round()
    slow, fast = _RANGES[coordinate]
    return slow * torch.logspace(0, 1, count, base=fast / slow, dtype=torch.float64)
