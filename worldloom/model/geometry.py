"""From poses to what the transformer reads: rays for its injectors, coordinates for its rotary.

Everything is seen from an anchor camera turned upright (its yaw and position, not its pitch), so
that the model never meets absolute places or headings, and lengths stay metric. A committed latent
is its own anchor for its rays; its coordinates are taken anew by every reader.

Letters: B batch, T latents, P tokens of a latent, L = T P, R ray features of a token.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.camera import Intrinsics, ray_grid
from worldloom.model.config import TransformerConfig
from worldloom.model.rope import AGE, AZIMUTH, ELEVATION, NUM_COORDINATES, X, Z

RAY_DIM = 6

Poses = Float[Tensor, "B T 4 4"]
Anchor = Float[Tensor, "B 4 4"]


class Geometry(nn.Module):
    """The fixed ray grids of a camera, and the two conversions."""

    def __init__(
        self, config: TransformerConfig, intrinsics: Intrinsics, height: int, width: int
    ) -> None:
        """Sample the rays of an image of `height` x `width` pixels at tokens and latent pixels."""
        super().__init__()
        patch = config.patch_size
        fine = ray_grid(intrinsics, height, width, config.latent_height, config.latent_width)
        coarse = ray_grid(intrinsics, height, width, config.token_rows, config.token_cols)
        by_token = torch.from_numpy(fine).float()
        by_token = by_token.unflatten(0, (-1, patch)).unflatten(2, (-1, patch))
        self.pixel_rays: Tensor
        self.token_rays: Tensor
        self.register_buffer(
            "pixel_rays", by_token.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1), False
        )
        self.register_buffer("token_rays", torch.from_numpy(coarse).float().flatten(0, 1), False)

    def rays(self, poses: Poses, anchor: Anchor) -> Tensor:
        """Return (origin, direction) features [B, T, P, patch^2 * 6] seen from the anchor."""
        rotation, origin = _in_upright_frame(poses, anchor)
        directions = torch.einsum("btij,pkj->btpki", rotation, self.pixel_rays)
        origins = origin[:, :, None, None].expand_as(directions)
        return torch.cat([origins, directions], dim=-1).flatten(3)

    def coordinates(self, poses: Poses, anchor: Anchor, ages: Float[Tensor, "B T"]) -> Tensor:
        """Return the rotary coordinates [B, T P, 5] of tokens whose latents have these ages."""
        rotation, origin = _in_upright_frame(poses, anchor)
        directions = torch.einsum("btij,pj->btpi", rotation, self.token_rays)
        out = directions.new_empty(*directions.shape[:3], NUM_COORDINATES)
        out[..., AGE] = ages[..., None]
        out[..., AZIMUTH] = torch.atan2(directions[..., 0], directions[..., 2])
        out[..., ELEVATION] = torch.asin((-directions[..., 1]).clamp(-1, 1))
        out[..., X] = origin[..., None, 0]
        out[..., Z] = origin[..., None, 2]
        return out.flatten(1, 2)


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
