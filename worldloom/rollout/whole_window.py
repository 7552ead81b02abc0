"""A segment and its context as one sequence in which all latents read each other.

Nothing is committed: context latents are clean latents of the sequence and are computed anew at
every step, seen from the segment's anchor. It is what a stream gives up for keys that are computed
once, so it is what a stream is compared with; no session runs it. It does not know how latents are
chosen.

Letters: B batch, C channels, M context latents, T latents of the segment.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.model.transformer import (
    Context,
    Latents,
    PreparedSegment,
    SegmentConditions,
    Sigma,
)
from worldloom.rollout.world_model import Network


def joined_conditions(
    context: Context, of_context: SegmentConditions, of_segment: SegmentConditions, num_memory: int
) -> SegmentConditions:
    """Return what the joined sequence is told.

    Args:
        context: places of the context latents, and which are there.
        of_context: what the context latents are told, seen from the segment's anchor.
        of_segment: what the segment is told.
        num_memory: leading context latents that are memory.
    """
    rays, keyboard, mouse = (
        torch.cat(pair, dim=1)
        for pair in (
            (of_context.rays, of_segment.rays),
            (of_context.keyboard, of_segment.keyboard),
            (of_context.mouse, of_segment.mouse),
        )
    )
    is_valid = context.is_valid
    if is_valid is not None:
        own = is_valid.new_ones(len(is_valid), of_segment.coordinates.shape[1])
        is_valid = torch.cat([is_valid, own], dim=1)
    return SegmentConditions(
        rays=rays,
        coordinates=torch.cat([context.coordinates, of_segment.coordinates], dim=1),
        keyboard=keyboard,
        mouse=mouse,
        prompt=of_segment.prompt,
        num_memory=num_memory,
        is_valid=is_valid,
    )


def denoise_joined(
    transformer: Network,
    context: Float[Tensor, "B M C H W"],
    noisy: Latents,
    sigma: Sigma,
    prepared: PreparedSegment,
) -> Latents:
    """Return the velocity of a segment's latents behind clean context latents."""
    clean = sigma.new_zeros(len(sigma), context.shape[1])
    latents = torch.cat([context.transpose(1, 2).to(noisy.dtype), noisy], dim=2)
    velocity = transformer.denoise(latents, torch.cat([clean, sigma], dim=1), prepared)
    return velocity[:, :, context.shape[1] :]
