"""Inputs of the right shapes for a pass whose numbers do not matter, such as one that only counts.

They lie on torch's current default device, so under `torch.device("meta")` they cost nothing. It
does not know what is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import ray_dim
from worldloom.model.rope import num_coordinates
from worldloom.model.transformer import Context, SegmentConditions


@dataclass
class DryRun:
    """What one pass over a segment's latents reads."""

    latents: Tensor  # [B, C, T, H, W]
    sigma: Tensor  # [B, T]
    conditions: SegmentConditions
    context: Context | None


def later_segment(config: TransformerConfig, batch: int = 1) -> DryRun:
    """Return the inputs of denoising a segment after the first, its memory and past all there."""
    num_latents = config.segment_latents
    if config.commits:
        return _inputs(config, batch, num_latents, _context(config, batch))
    inputs = _inputs(config, batch, config.num_context_latents + num_latents, None)
    inputs.conditions.num_memory = config.num_memory_latents
    return inputs


def committed_segment(config: TransformerConfig) -> DryRun:
    """Return the inputs of committing a segment's clean latents, as far as they may reach."""
    if config.reach == "latent":
        return _inputs(config, config.segment_latents, 1, None)
    context = _context(config, 1) if config.reach == "window" else None
    return _inputs(config, 1, config.segment_latents, context)


def _inputs(
    config: TransformerConfig, batch: int, num_latents: int, context: Context | None
) -> DryRun:
    places, window = config.tokens_per_latent_frame, config.action_window_frames
    prompt = (
        torch.zeros(batch, config.text_length, dtype=torch.long)
        if config.text == "learned"
        else torch.zeros(batch, config.text_length, config.text_dim)
    )
    conditions = SegmentConditions(
        rays=torch.zeros(batch, num_latents, places, ray_dim(config)),
        coordinates=torch.zeros(batch, num_latents * places, num_coordinates(config)),
        keyboard=torch.zeros(batch, num_latents, window, NUM_KEYS),
        mouse=torch.zeros(batch, num_latents, window, NUM_MOUSE_AXES),
        prompt=prompt,
    )
    size = (config.latent_height, config.latent_width)
    latents = torch.zeros(batch, config.latent_channels, num_latents, *size)
    return DryRun(latents, torch.zeros(batch, num_latents), conditions, context)


def _context(config: TransformerConfig, batch: int) -> Context:
    tokens = config.num_context_latents * config.tokens_per_latent_frame
    shape = (batch, tokens, config.num_heads, config.head_dim)
    return Context(
        coordinates=torch.zeros(batch, tokens, num_coordinates(config)),
        is_valid=None,
        blocks=[
            BlockContext(torch.zeros(shape), torch.zeros(shape)) for _ in range(config.num_blocks)
        ],
    )
