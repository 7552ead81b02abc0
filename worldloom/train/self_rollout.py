"""Self-rollout: a model generates segment after segment of clips from its own output.

What a segment sees of latents that were generated is what it would see in a session: keys and
values committed by the model itself, its past and what was retrieved. It does not know losses,
scores or optimisers.

Letters: B batch, L latents of a clip, C channels, T latents of a segment, M context latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from worldloom.diffusion.solver import solve
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import (
    ClipBatch,
    ClipLatents,
    commit_clips,
    commit_latents,
    gather_latents,
    segment_start,
)

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass
class SegmentView:
    """One segment of B clips and what it sees of their committed latents."""

    batch: ClipBatch
    latents: Tensor  # [B, L, C, H, W], all before the segment's start
    segment_index: int
    chosen: Tensor  # [B, M]
    is_valid: Tensor  # [B, M]


def view_segment(
    batch: ClipBatch,
    latents: ClipLatents,
    segment_index: int,
    segment_latents: int,
    hidden: Bool[Tensor, " B"],
) -> SegmentView:
    """Return what a segment of clips sees of `latents`, which stand in for the batch's own.

    hidden marks clips whose segment sees its latest latent alone.
    """
    start = 1 + segment_index * segment_latents
    is_valid = batch.context_valid[:, segment_index].clone()
    is_valid[:, :-1] &= ~hidden[:, None]
    return SegmentView(
        batch=batch,
        latents=latents[:, :start],
        segment_index=segment_index,
        chosen=batch.context_indices[:, segment_index],
        is_valid=is_valid,
    )


def velocity_of(
    transformer: WorldModelTransformer, conditioner: Conditioner, view: SegmentView
) -> Velocity:
    """Return velocity(noisy, sigma) of a network under a view; its context is committed once."""
    config, batch = transformer.config, view.batch
    start = segment_start(view.segment_index, config)
    new = slice(start, start + config.segment_latents)
    anchor = batch.poses[:, start - 1]
    rows = torch.arange(len(view.chosen), device=view.chosen.device)[:, None]
    context = conditioner.context(
        _committed(transformer, conditioner, view),
        batch.poses[rows, view.chosen],
        anchor,
        start - view.chosen,
        view.is_valid,
    )
    windows = (batch.keyboard[:, new], batch.mouse[:, new])
    prepared = transformer.prepare(
        conditioner.noisy(batch.poses[:, new], anchor, windows, batch.prompt)
    )

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        levels = sigma[:, None].expand(-1, config.segment_latents)
        return transformer.denoise(noisy, levels, prepared, context)

    return velocity


@torch.no_grad()
def roll_out(
    student: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    segments: range,
    sampler: SamplerConfig,
    generator: torch.Generator,
) -> ClipLatents:
    """Return the clips' latents with `segments` replaced by the student's own, in turn."""
    latents = batch.latents.clone()
    size = student.config.segment_latents
    shown = torch.zeros(len(latents), dtype=torch.bool, device=latents.device)
    for index in segments:
        view = view_segment(batch, latents, index, size, shown)
        noise = torch.randn(segment_shape(latents, size), generator=generator)
        sigmas = torch.tensor([*sampler.sigmas, 0.0])
        velocity = velocity_of(student, conditioner, view)
        made = solve(velocity, noise.to(latents.device), sigmas, sampler.solver, generator)
        start = 1 + index * size
        latents[:, start : start + size] = made.transpose(1, 2)
    return latents


def segment_shape(latents: ClipLatents, segment_latents: int) -> tuple[int, ...]:
    """Return [B, C, T, H, W] of one segment of clips."""
    count, _, channels, height, width = latents.shape
    return count, channels, segment_latents, height, width


def _committed(
    transformer: WorldModelTransformer, conditioner: Conditioner, view: SegmentView
) -> list[BlockContext]:
    """Return keys and values [B, M P, N, D] of the context latents, block by block."""
    if transformer.config.reach == "latent":  # no other latent has a say in them
        return commit_latents(transformer, conditioner, view.batch, view.latents, view.chosen)
    committed = commit_clips(transformer, conditioner, view.batch, view.latents)
    return gather_latents(committed, view.chosen)
