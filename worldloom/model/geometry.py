"""From poses to what the transformer reads: rays for its injectors, coordinates for its rotary.

Stream layout: everything is seen from an anchor camera turned upright (its yaw and position, not
its pitch), so that the model never meets absolute places or headings, and lengths stay metric.
Reference layout: rays of poses that the caller made relative, coordinates on the lattice of
latents, rows and columns. Nothing of it is computed in less than float32, whatever precision a
training step runs in. It does not know which latents a segment holds.

Letters: B batch, T latents, P tokens of a latent, L = T P, R ray features of a token.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldloom.camera import Intrinsics, ray_grid
from worldloom.model.config import TransformerConfig
from worldloom.model.rope import (
    AGE,
    AZIMUTH,
    ELEVATION,
    X,
    Z,
    full_precision,
    num_coordinates,
)

_RAY_CHANNELS = 6  # origin and direction

Poses = Float[Tensor, "B T 4 4"]
Anchor = Float[Tensor, "B 4 4"]


def ray_dim(config: TransformerConfig) -> int:
    """Return the ray features of one token."""
    return _RAY_CHANNELS * (config.ray_samples * config.patch_size) ** 2


class Geometry(nn.Module):
    """The fixed ray grids of a camera, and the conversions."""

    pixel_rays: Tensor
    token_rays: Tensor
    lattice: Tensor

    def __init__(self, config: TransformerConfig, intrinsics: Intrinsics) -> None:
        """Sample the rays of a frame at tokens and at `config.ray_samples` a latent's edge."""
        super().__init__()
        self.num_coordinates = num_coordinates(config)
        rows, cols = config.token_rows, config.token_cols
        samples, patch = config.ray_samples, config.patch_size
        edge = samples * patch
        fine = ray_grid(intrinsics, *config.frame_size, rows * edge, cols * edge)
        coarse = ray_grid(intrinsics, *config.frame_size, rows, cols)
        # A token's features: of each latent pixel all samples, then the latent pixels of its patch.
        by_token = torch.from_numpy(fine).float().unflatten(1, (cols, patch, samples))
        by_token = by_token.unflatten(0, (rows, patch, samples)).permute(0, 3, 6, 2, 5, 1, 4)
        self.register_buffer("pixel_rays", by_token.flatten(3).flatten(0, 1), persistent=False)
        self.register_buffer(
            "token_rays", torch.from_numpy(coarse).float().flatten(0, 1), persistent=False
        )
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(cols)).float()
        self.register_buffer("lattice", grid, persistent=False)

    def rays_from(self, poses: Poses, anchor: Anchor) -> Float[Tensor, "B T P R"]:
        """Return (origin, direction) features seen from the upright anchor, metres."""
        with full_precision(poses.device):
            return self._rays(*_in_upright_frame(poses, anchor))

    def rays(self, relative_poses: Poses) -> Float[Tensor, "B T P R"]:
        """Return (origin, direction) features of poses that are relative already."""
        with full_precision(relative_poses.device):
            return self._rays(relative_poses[..., :3, :3], relative_poses[..., :3, 3])

    def coordinates_from(
        self, poses: Poses, anchor: Anchor, ages: Float[Tensor, "B T"]
    ) -> Float[Tensor, "B L 5"]:
        """Return age, azimuth, elevation, x and z of tokens whose latents have these ages."""
        with full_precision(poses.device):
            rotation, origin = _in_upright_frame(poses, anchor)
            directions = torch.einsum("btij,pj->btpi", rotation, self.token_rays)
        out = directions.new_empty(*directions.shape[:3], self.num_coordinates)
        out[..., AGE] = ages[..., None]
        out[..., AZIMUTH] = torch.atan2(directions[..., 0], directions[..., 2])
        out[..., ELEVATION] = torch.asin((-directions[..., 1]).clamp(-1, 1))
        out[..., X] = origin[..., None, 0]
        out[..., Z] = origin[..., None, 2]
        return out.flatten(1, 2)

    def lattice_coordinates(self, latent_numbers: Int[Tensor, "B T"]) -> Float[Tensor, "B L 3"]:
        """Return (latent, row, column) of the tokens of numbered latents."""
        batch, latents = latent_numbers.shape
        number = latent_numbers.float()[:, :, None, None].expand(-1, -1, len(self.lattice), 1)
        places = self.lattice.expand(batch, latents, -1, -1)
        return torch.cat([number, places], dim=-1).flatten(1, 2)

    def _rays(self, rotation: Tensor, origin: Tensor) -> Tensor:
        """Features are (origin x y z, direction x y z), each over the token's samples."""
        directions = torch.einsum("btij,pjk->btpik", rotation, self.pixel_rays)
        origins = origin[:, :, None, :, None].expand_as(directions)
        return torch.cat([origins, directions], dim=3).flatten(3)


def _in_upright_frame(poses: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """Return rotations [B, T, 3, 3] and origins [B, T, 3] in the anchor's yaw-only frame."""
    forward = anchor[:, :3, 2]
    norm = torch.hypot(forward[:, 0], forward[:, 2]).clamp_min(1e-6)
    sine, cosine = forward[:, 0] / norm, forward[:, 2] / norm
    zero, one = torch.zeros_like(sine), torch.ones_like(sine)
    to_anchor = torch.stack(
        [
            torch.stack([cosine, zero, -sine], -1),
            torch.stack([zero, one, zero], -1),
            torch.stack([sine, zero, cosine], -1),
        ],
        dim=-2,
    )
    rotation = to_anchor[:, None] @ poses[:, :, :3, :3]
    origin = (poses[:, :, :3, 3] - anchor[:, None, :3, 3]) @ to_anchor.transpose(1, 2)
    return rotation, origin
