"""Self-rollout: a model generates segment after segment of clips from its own output.

What a segment sees of latents that were generated is what it would see in a session: keys and
values committed by the model itself, its past and what was retrieved. It does not know losses,
scores or optimisers.

Letters: B batch, L latents of a clip, C channels, T latents of a segment, M context latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from worldloom.diffusion.from_host import to_device
from worldloom.diffusion.solver import solve
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import Context, PreparedSegment, WorldModelTransformer
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
from worldloom.train.recorded import Recorded

Velocity = Callable[[Tensor, Tensor], Tensor]
VelocityOf = Callable[[WorldModelTransformer, Conditioner, "SegmentView"], Velocity]


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
    look = _look(transformer, view)
    blocks = _committed(transformer, conditioner, view)
    prepared, context = _told(transformer, conditioner, look, blocks)

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        levels = sigma[:, None].expand(-1, noisy.shape[2])
        return transformer.denoise(noisy, levels, prepared, context)

    return velocity


class RecordedVelocities:
    """`velocity_of` of several networks, each recorded (`recorded`) where its reach allows.

    What has a gradient commits the context and denoises in one computation; what has none commits
    once a view and denoises step after step. A latent that saw others when it was committed hangs
    on how many there are, so such networks run as they are.
    """

    def __init__(self) -> None:
        """Record nothing yet."""
        self._recorded: dict[int, _RecordedNetwork] = {}

    def __call__(
        self, transformer: WorldModelTransformer, conditioner: Conditioner, view: SegmentView
    ) -> Velocity:
        """Return velocity(noisy, sigma) of a network under a view."""
        if transformer.config.reach != "latent":
            return velocity_of(transformer, conditioner, view)
        if id(transformer) not in self._recorded:
            self._recorded[id(transformer)] = _RecordedNetwork(transformer, conditioner)
        recorded = self._recorded[id(transformer)]
        rows = torch.arange(len(view.chosen), device=view.chosen.device)[:, None]
        seen = view.latents[rows, view.chosen]
        told = tuple(vars(_look(transformer, view)).values())
        committed: list[Tensor] = []

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                return recorded.whole(noisy, sigma, seen, *told)[0]
            if not committed:
                committed.extend(recorded.commit(seen, *told))
            return recorded.denoise(noisy, sigma, *told, *committed)[0]

        return velocity


class _RecordedNetwork:
    """A network's velocity under a view as computations on tensors: whole, or its two halves."""

    def __init__(self, transformer: WorldModelTransformer, conditioner: Conditioner) -> None:
        self.whole, self.commit, self.denoise = (
            Recorded(transformer, partial(compute, conditioner), rounds_weights=True)
            for compute in (_velocity_under, _commit_seen, _denoise_under)
        )


@dataclass
class _Look:
    """What a segment is told and sees, apart from latents: tensors of one shape for all segments.

    Letters: M context latents, T latents of the segment.
    """

    poses: Tensor  # [B, T, 4, 4]
    keyboard: Tensor  # [B, T, W, keys]
    mouse: Tensor  # [B, T, W, axes]
    prompt: Tensor  # [B, W]
    anchor: Tensor  # [B, 4, 4]
    seen_poses: Tensor  # [B, M, 4, 4]
    seen_keyboard: Tensor  # [B, M, W, keys]
    seen_mouse: Tensor  # [B, M, W, axes]
    ages: Tensor  # [B, M]
    is_valid: Tensor  # [B, M]


def _look(transformer: WorldModelTransformer, view: SegmentView) -> _Look:
    batch = view.batch
    start = segment_start(view.segment_index, transformer.config)
    new = slice(start, start + transformer.config.segment_latents)
    rows = torch.arange(len(view.chosen), device=view.chosen.device)[:, None]
    return _Look(
        poses=batch.poses[:, new],
        keyboard=batch.keyboard[:, new],
        mouse=batch.mouse[:, new],
        prompt=batch.prompt,
        anchor=batch.poses[:, start - 1],
        seen_poses=batch.poses[rows, view.chosen],
        seen_keyboard=batch.keyboard[rows, view.chosen],
        seen_mouse=batch.mouse[rows, view.chosen],
        ages=start - view.chosen,
        is_valid=view.is_valid,
    )


def _told(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    look: _Look,
    blocks: list[BlockContext],
) -> tuple[PreparedSegment, Context]:
    """Return what a network works out of a look before it denoises."""
    context = conditioner.context(blocks, look.seen_poses, look.anchor, look.ages, look.is_valid)
    windows = (look.keyboard, look.mouse)
    noisy = conditioner.noisy(look.poses, look.anchor, windows, look.prompt)
    return transformer.prepare(noisy), context


def _velocity_under(
    conditioner: Conditioner,
    transformer: WorldModelTransformer,
    noisy: Tensor,
    sigma: Tensor,
    seen: Tensor,
    *told: Tensor,
) -> tuple[Tensor]:
    """Return the velocity of a segment that sees latents [B, M, C, H, W], from tensors alone."""
    committed = _commit_seen(conditioner, transformer, seen, *told)
    return _denoise_under(conditioner, transformer, noisy, sigma, *told, *committed)


def _commit_seen(
    conditioner: Conditioner, transformer: WorldModelTransformer, seen: Tensor, *told: Tensor
) -> tuple[Tensor, ...]:
    """Return keys and values [B, M P, N, D] of latents that a segment sees, block after block."""
    look = _Look(*told)
    none = look.ages[:, :0]  # of what they saw themselves
    alone = ClipBatch(
        seen, look.seen_poses, look.seen_keyboard, look.seen_mouse, look.prompt, none, none
    )
    every = torch.arange(seen.shape[1], device=seen.device).expand(len(seen), -1)
    blocks = commit_latents(transformer, conditioner, alone, seen, every)
    return tuple(value for block in blocks for value in (block.keys, block.values))


def _denoise_under(
    conditioner: Conditioner,
    transformer: WorldModelTransformer,
    noisy: Tensor,
    sigma: Tensor,
    *told_and_committed: Tensor,
) -> tuple[Tensor]:
    """Return the velocity of a segment behind what `_commit_seen` returned."""
    count = len(fields(_Look))
    look, committed = _Look(*told_and_committed[:count]), told_and_committed[count:]
    pairs = zip(committed[::2], committed[1::2], strict=True)
    blocks = [BlockContext(keys, values) for keys, values in pairs]
    prepared, context = _told(transformer, conditioner, look, blocks)
    levels = sigma[:, None].expand(-1, noisy.shape[2])
    return (transformer.denoise(noisy, levels, prepared, context),)


@torch.no_grad()
def roll_out(
    student: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    segments: range,
    sampler: SamplerConfig,
    generator: torch.Generator,
    velocities: VelocityOf = velocity_of,
) -> ClipLatents:
    """Return the clips' latents with `segments` replaced by the student's own, in turn."""
    latents = batch.latents.clone()
    size = student.config.segment_latents
    shown = torch.zeros(len(latents), dtype=torch.bool, device=latents.device)
    for index in segments:
        view = view_segment(batch, latents, index, size, shown)
        shape, there = segment_shape(latents, size), generator.device
        noise = to_device(torch.randn(shape, generator=generator, device=there), latents.device)
        sigmas = torch.tensor([*sampler.sigmas, 0.0])
        velocity = velocities(student, conditioner, view)
        made = solve(velocity, noise, sigmas, sampler.solver, generator)
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
