"""One segment: which latents it sees, and what the transformer is told about each.

The same code serves training (many segments of many clips at once) and a live session (one).
A segment starts at latent `start`; its anchor is the pose of the latest committed latent; it sees
the latest `num_past_latents` and what memory retrieval chose among older ones. It does not know
solvers, sessions or losses.

Letters: B batch, T latents of the segment, M context latents, P tokens of a latent, W frames of an
action window, F frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldloom.camera import Intrinsics
from worldloom.frames import last_frame_of_latent
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import Geometry
from worldloom.model.transformer import Context, SegmentInput


def past_indices(start: int, num_past_latents: int) -> list[int]:
    """Return the latest committed latents before `start`, oldest first."""
    return list(range(max(0, start - num_past_latents), start))


def action_windows(actions: Tensor, latent_indices: Tensor, window_frames: int) -> Tensor:
    """Return the actions [B, T, W, A] that latents read, of per-frame actions [B, F, A].

    Latent l reads frames 4l - W + 1 .. 4l; before the first frame the first action is repeated.
    """
    last = last_frame_of_latent(1) * latent_indices
    frames = last[..., None] + torch.arange(1 - window_frames, 1, device=actions.device)
    frames = frames.clamp(min=0)
    rows = torch.arange(len(actions), device=actions.device)[:, None, None]
    return actions[rows, frames]


class Conditioner(nn.Module):
    """Builds the transformer's inputs from latents, poses and actions."""

    def __init__(
        self, config: TransformerConfig, intrinsics: Intrinsics, frame_size: tuple[int, int]
    ) -> None:
        """Hold the camera's ray grids for images of `frame_size` (height, width) pixels."""
        super().__init__()
        self.config = config
        self.geometry = Geometry(config, intrinsics, *frame_size)

    def clean(
        self,
        latents: Tensor,
        poses: Tensor,
        keyboard: Tensor,
        mouse: Tensor,
        prompt_tokens: Tensor,
    ) -> SegmentInput:
        """Return committed latents [B, C, H, W], each alone, with pose [B, 4, 4] and windows."""
        pose = poses[:, None]
        return SegmentInput(
            latents=latents[:, :, None],
            sigma=latents.new_zeros(len(latents)),
            rays=self.geometry.rays(pose, poses),
            coordinates=self.geometry.coordinates(pose, poses, latents.new_zeros(len(poses), 1)),
            keyboard=keyboard[:, None],
            mouse=mouse[:, None],
            prompt_tokens=prompt_tokens,
        )

    def noisy(
        self,
        latents: Tensor,
        sigma: Tensor,
        poses: Tensor,
        anchor: Tensor,
        windows: tuple[Tensor, Tensor],
        prompt_tokens: Tensor,
    ) -> SegmentInput:
        """Return a segment [B, C, T, H, W] with poses [B, T, 4, 4] seen from anchor [B, 4, 4]."""
        ages = -torch.arange(latents.shape[2], device=latents.device, dtype=torch.float32)
        return SegmentInput(
            latents=latents,
            sigma=sigma,
            rays=self.geometry.rays(poses, anchor),
            coordinates=self.geometry.coordinates(poses, anchor, ages.expand(len(poses), -1)),
            keyboard=windows[0],
            mouse=windows[1],
            prompt_tokens=prompt_tokens,
        )

    def context(
        self,
        blocks: list[BlockContext],
        poses: Tensor,
        anchor: Tensor,
        ages: Tensor,
        is_valid: Tensor,
    ) -> Context:
        """Return committed keys and values [B, M P, N, D] placed for a reader.

        poses [B, M, 4, 4]; ages [B, M] in latents before the segment's start; is_valid [B, M].
        """
        ages = ages.clamp(max=self.config.max_memory_gap).float()
        return Context(
            blocks=blocks,
            coordinates=self.geometry.coordinates(poses, anchor, ages),
            is_valid=is_valid.repeat_interleave(self.config.tokens_per_latent_frame, dim=1),
        )
