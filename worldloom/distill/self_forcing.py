"""Self-rollout: the student generates segment after segment from its own output.

Earlier segments give context only; the last one is what a loss looks at, and only its last
executed denoising step carries a gradient (Self-Forcing; Matrix-Game 3.0, multi-segment
distillation). It does not know scores or optimisers.

Letters: B batch, C channels, T latents of a segment, M context latents, W frames of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from worldloom.diffusion.schedule import add_noise, velocity_to_x0
from worldloom.diffusion.solver import solve
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import Context, WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.flow_objective import Batch

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass
class SegmentView:
    """One segment of B clips and the committed latents that it sees."""

    context_latents: Tensor  # [B, M, C, H, W]
    context_poses: Tensor  # [B, M, 4, 4]
    context_keyboard: Tensor  # [B, M, W, keys]
    context_mouse: Tensor  # [B, M, W, axes]
    ages: Tensor  # [B, M]
    is_valid: Tensor  # [B, M]
    anchor: Tensor  # [B, 4, 4]
    poses: Tensor  # [B, T, 4, 4]
    windows: tuple[Tensor, Tensor]  # [B, T, W, keys], [B, T, W, axes]
    prompt_tokens: Tensor  # [B, words]


def view_segment(
    batch: Batch, latents: Tensor, segment_index: int, segment_latents: int, hidden: Tensor
) -> SegmentView:
    """Return what segment `segment_index` of clips sees of `latents` [B, L, C, H, W].

    hidden [B] marks clips whose segment sees its latest latent alone.
    """
    start = 1 + segment_index * segment_latents
    chosen = batch.context_indices[:, segment_index]
    is_valid = batch.context_valid[:, segment_index].clone()
    is_valid[:, :-1] &= ~hidden[:, None]
    rows = torch.arange(len(chosen))[:, None]
    new = slice(start, start + segment_latents)
    return SegmentView(
        context_latents=latents[rows, chosen],
        context_poses=batch.poses[rows, chosen],
        context_keyboard=batch.keyboard[rows, chosen],
        context_mouse=batch.mouse[rows, chosen],
        ages=start - chosen,
        is_valid=is_valid,
        anchor=batch.poses[:, start - 1],
        poses=batch.poses[:, new],
        windows=(batch.keyboard[:, new], batch.mouse[:, new]),
        prompt_tokens=batch.prompt_tokens,
    )


def velocity_of(
    transformer: WorldModelTransformer, conditioner: Conditioner, view: SegmentView
) -> Velocity:
    """Return velocity(noisy, sigma) of a network under a view; its context is committed once."""
    context = _commit_context(transformer, conditioner, view)

    def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
        segment = conditioner.noisy(
            noisy, sigma, view.poses, view.anchor, view.windows, view.prompt_tokens
        )
        return transformer.denoise(segment, context)

    return velocity


@torch.no_grad()
def roll_out(
    student: WorldModelTransformer,
    conditioner: Conditioner,
    batch: Batch,
    segments: range,
    sampler: SamplerConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return the clips' latents with `segments` replaced by the student's own, in turn."""
    latents = batch.latents.clone()
    size = student.config.segment_latents
    shown = torch.zeros(len(latents), dtype=torch.bool)
    for index in segments:
        view = view_segment(batch, latents, index, size, shown)
        noise = torch.randn(_segment_shape(latents, size), generator=generator)
        sigmas = torch.tensor([*sampler.sigmas, 0.0])
        velocity = velocity_of(student, conditioner, view)
        made = solve(velocity, noise, sigmas, sampler.solver, generator)
        start = 1 + index * size
        latents[:, start : start + size] = made.transpose(1, 2)
    return latents


def generate_with_gradient(
    velocity: Velocity,
    shape: tuple[int, ...],
    sampler: SamplerConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return the clean estimate [B, C, T, H, W] at a random exit step, the one with a gradient."""
    count = len(sampler.sigmas)
    exit_step = int(torch.randint(0, count, (), generator=generator))
    x = torch.randn(shape, generator=generator)
    for step, sigma_value in enumerate(sampler.sigmas[: exit_step + 1]):
        sigma = torch.full((shape[0],), sigma_value)
        with torch.set_grad_enabled(step == exit_step):
            x0 = velocity_to_x0(x, velocity(x, sigma), sigma)
        if step < exit_step:
            fresh = torch.randn(shape, generator=generator)
            x = add_noise(x0, fresh, torch.full((shape[0],), sampler.sigmas[step + 1]))
    return x0


def _commit_context(
    transformer: WorldModelTransformer, conditioner: Conditioner, view: SegmentView
) -> Context:
    count, slots = view.ages.shape
    clean = conditioner.clean(
        view.context_latents.flatten(0, 1),
        view.context_poses.flatten(0, 1),
        view.context_keyboard.flatten(0, 1),
        view.context_mouse.flatten(0, 1),
        view.prompt_tokens.repeat_interleave(slots, dim=0),
    )

    def by_clip(values: Tensor) -> Tensor:
        by_slot: Tensor = values.unflatten(0, (count, slots))
        return by_slot.flatten(1, 2)

    blocks = [
        BlockContext(by_clip(block.keys), by_clip(block.values))
        for block in transformer.commit(clean)
    ]
    return conditioner.context(blocks, view.context_poses, view.anchor, view.ages, view.is_valid)


def _segment_shape(latents: Tensor, segment_latents: int) -> tuple[int, ...]:
    count, _, channels, height, width = latents.shape
    return count, channels, segment_latents, height, width
