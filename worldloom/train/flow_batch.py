"""A step's draw for flow matching: which clips, what is hidden of them, which noise.

Everything is drawn for the whole batch and cut to this process's rows, and nothing hangs on the
network, so a batch can be drawn ahead and is the same on any number of processes, whatever the
source of self-correction. It does not know losses.

Letters: B clips of the whole batch, R this process's clips, S segments, M context latents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.diffusion.schedule import sample_sigma
from worldloom.model.config import TransformerConfig
from worldloom.train.clip_context import ClipBatch
from worldloom.train.flow_config import FlowObjectiveConfig
from worldloom.train.share import own_rows


class ClipSet(Protocol):
    """Clips with the context of every segment worked out: `SegmentedClips`, or a growing pool."""

    num_segments: int
    intrinsics: Intrinsics
    clip_ids: list[str]

    def __len__(self) -> int:
        """Return the number of clips."""

    def batch(self, rows: Int[Tensor, " B"]) -> ClipBatch:
        """Return the clips of these rows."""


@dataclass
class FlowBatch:
    """What a step trains on.

    Attributes:
        clips: this process's clips, some of their context hidden.
        rows: [B] where the whole batch's clips lie in their set.
        own_rows: which of them are this process's.
        sigma: [B S] noise level of every segment of the whole batch.
        noise: [R S, C, T, H, W] of this process's segments; None: to be drawn on the device.
        is_clean: [B] clips whose context stays undisturbed.
    """

    clips: ClipBatch
    rows: Tensor
    own_rows: slice
    sigma: Tensor
    noise: Tensor | None
    is_clean: Tensor

    @property
    def own_segments(self) -> slice:
        """Which segments of the whole batch are this process's."""
        num_segments = self.clips.context_indices.shape[1]
        return slice(self.own_rows.start * num_segments, self.own_rows.stop * num_segments)


def draw_batch(
    config: FlowObjectiveConfig,
    shape: TransformerConfig,
    clips: ClipSet,
    generator: torch.Generator,
    own_clips: Int[Tensor, " K"] | None = None,
) -> FlowBatch:
    """Draw a step's batch.

    Args:
        config: sizes and chances.
        shape: of the network.
        clips: what is drawn from.
        generator: source of every draw.
        own_clips: clips that take the batch's first places, whatever was drawn for these.
    """
    count = config.batch_clips
    rows = torch.randint(0, len(clips), (count,), generator=generator)
    if own_clips is not None:
        rows[: len(own_clips)] = own_clips[:count]
    own = own_rows(count)
    batch = _hide_context(config, shape, clips.batch(rows[own]), own, generator)
    is_clean = torch.rand(count, generator=generator) < config.error_buffer.clean_probability
    num_segments = count * clips.num_segments
    sigma = sample_sigma(num_segments, config.timestep_shift, generator)
    noise = None
    if not config.draws_noise_on_device:
        noise = torch.randn(segment_shape(shape, num_segments), generator=generator)
    drawn = FlowBatch(batch, rows, own, sigma, noise, is_clean)
    if noise is not None:
        drawn.noise = noise[drawn.own_segments]
    return drawn


def segment_shape(shape: TransformerConfig, num_segments: int) -> tuple[int, ...]:
    """Return [S, C, T, H, W] of so many segments."""
    size = (shape.latent_height, shape.latent_width)
    return (num_segments, shape.latent_channels, shape.segment_latents, *size)


def _hide_context(
    config: FlowObjectiveConfig,
    shape: TransformerConfig,
    batch: ClipBatch,
    own: slice,
    generator: torch.Generator,
) -> ClipBatch:
    """Drop or replace context slots of random segments."""
    slots, count = shape.num_memory_latents, config.batch_clips
    segments, where = batch.context_valid.shape[1], batch.context_valid.device
    indices, is_valid = batch.context_indices.clone(), batch.context_valid.clone()

    def drawn(width: int) -> Tensor:
        return torch.rand(count, segments, width, generator=generator)[own].to(where)

    draw = drawn(1)
    is_valid[..., :slots] &= draw >= config.no_memory_probability
    is_random = (draw >= config.no_memory_probability) & (
        draw < config.no_memory_probability + config.random_memory_probability
    )
    candidates = indices[..., -1:] - shape.num_past_latents + 1
    random = drawn(slots) * candidates.clamp(min=0)
    indices[..., :slots] = torch.where(is_random, random.long(), indices[..., :slots])
    is_valid[..., slots:-1] &= drawn(1) >= config.no_past_probability
    return replace(batch, context_indices=indices, context_valid=is_valid)
