"""One stream segment: which latents it sees, and what the transformer is told about each.

The same code serves training (many segments of many clips at once) and a live session (one).
A segment starts at latent `start`; its anchor is the pose of the latest committed latent; it sees
the latest `num_past_latents` and what memory retrieval chose among older ones. It does not know
solvers, sessions or losses.

Letters: B batch, T latents of the segment, M context latents, P tokens of a latent, W frames of an
action window, F frames, A numbers of an action.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from worldloom.camera import Intrinsics
from worldloom.frames import last_frame_of_latent
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import Anchor, Geometry, Poses
from worldloom.model.transformer import Context, SegmentConditions

Prompt = Shaped[Tensor, "B words *width"]  # token numbers, or embeddings
Windows = tuple[Float[Tensor, "B T W 6"], Float[Tensor, "B T W 2"]]


def past_indices(start: int, num_past_latents: int) -> list[int]:
    """Return the latest committed latents before `start`, oldest first."""
    return list(range(max(0, start - num_past_latents), start))


def action_windows(
    actions: Float[Tensor, "B F A"], latent_indices: Int[Tensor, "B T"], window_frames: int
) -> Float[Tensor, "B T W A"]:
    """Return the actions that latents read, of per-frame actions from frame 0 on.

    Latent l reads frames 4l - W + 1 .. 4l; before the first frame the first action is repeated.
    """
    last = last_frame_of_latent(1) * latent_indices
    frames = last[..., None] + torch.arange(1 - window_frames, 1, device=actions.device)
    frames = frames.clamp(min=0)
    rows = torch.arange(len(actions), device=actions.device)[:, None, None]
    return actions[rows, frames]


class Conditioner(nn.Module):
    """Builds the transformer's conditions from poses, actions and prompts."""

    def __init__(self, config: TransformerConfig, intrinsics: Intrinsics) -> None:
        """Hold the ray grids of a camera with these intrinsics."""
        super().__init__()
        self.config = config
        self.geometry = Geometry(config, intrinsics)

    def clean(self, poses: Poses, windows: Windows, prompt: Prompt) -> SegmentConditions:
        """Return what committed latents are told: the first of them is their anchor and origin."""
        return self._conditions(poses, poses[:, 0], windows, prompt)

    def noisy(
        self, poses: Poses, anchor: Anchor, windows: Windows, prompt: Prompt
    ) -> SegmentConditions:
        """Return what a segment is told that is seen from the latest committed pose."""
        return self._conditions(poses, anchor, windows, prompt)

    def context(
        self,
        blocks: list[BlockContext] | None,
        poses: Float[Tensor, "B M 4 4"],
        anchor: Anchor,
        ages: Int[Tensor, "B M"],
        is_valid: Bool[Tensor, "B M"] | None,
    ) -> Context:
        """Return committed keys and values [B, M P, N, D] placed for a reader.

        Args:
            blocks: keys and values block by block; None where the caller adds them.
            poses: of the context latents, camera to world.
            anchor: the reader's latest committed pose.
            ages: latents before the segment's start; the oldest count as `max_memory_gap`.
            is_valid: which latents are there; None if all are.
        """
        ages = ages.clamp(max=self.config.max_memory_gap)
        tokens = self.config.tokens_per_latent_frame
        return Context(
            blocks=blocks,
            coordinates=self.geometry.coordinates_from(poses, anchor, ages.float()),
            is_valid=None if is_valid is None else is_valid.repeat_interleave(tokens, dim=1),
        )

    def _conditions(
        self, poses: Poses, anchor: Anchor, windows: Windows, prompt: Tensor
    ) -> SegmentConditions:
        ages = -torch.arange(poses.shape[1], device=poses.device, dtype=torch.float32)
        return SegmentConditions(
            rays=self.geometry.rays_from(poses, anchor),
            coordinates=self.geometry.coordinates_from(poses, anchor, ages.expand(len(poses), -1)),
            keyboard=windows[0],
            mouse=windows[1],
            prompt=prompt,
        )
