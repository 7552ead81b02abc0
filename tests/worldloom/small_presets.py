"""Presets at widths that a test can run, with inputs that have something to say; not a test."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from worldloom.config import parse_config, resolved
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import DryRun, later_segment
from worldloom.model.transformer import Context, SegmentConditions, WorldModelTransformer


def scaled_down(shape: TransformerConfig) -> TransformerConfig:
    """The same layout, flags and segments at a small width, some blocks without actions."""
    num_blocks = 3
    small = {
        "latent_channels": 4,
        "latent_height": 4,
        "latent_width": 4,
        "dim": 48,
        "num_blocks": num_blocks,
        "num_heads": 2,
        "ffn_dim": 32,
        "ray_samples": min(shape.ray_samples, 2),
        "num_action_blocks": min(shape.num_action_blocks, 2),
        "action_dim": 16,
        "action_num_heads": 2,
        "action_key_dim": 4,
        "num_text_blocks": num_blocks if shape.num_text_blocks == shape.num_blocks else 1,
        "text_dim": 8,
        "text_vocabulary": 16,
        "text_length": 5,
    }
    return parse_config(TransformerConfig, {**resolved(shape), **small})


def noised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill what starts at zero, so that every path has an effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return module


def lively(inputs: DryRun, shape: TransformerConfig, seed: int = 1) -> DryRun:
    """Random values instead of zeros; of a reference segment, new latents alone are noisy."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor) -> Tensor:
        if like.dtype == torch.long:
            return torch.randint(1, shape.text_vocabulary, like.shape, generator=generator)
        return torch.randn(like.shape, generator=generator)

    given = inputs.conditions
    conditions = SegmentConditions(
        rays=drawn(given.rays),
        coordinates=drawn(given.coordinates),
        keyboard=drawn(given.keyboard),
        mouse=drawn(given.mouse),
        prompt=drawn(given.prompt),
        num_memory=given.num_memory,
    )
    sigma = torch.zeros_like(inputs.sigma)
    sigma[:, -shape.segment_latents :] = 0.7
    return replace(inputs, latents=drawn(inputs.latents), sigma=sigma, conditions=conditions)


def seen_context(transformer: WorldModelTransformer, seed: int = 2) -> Context:
    """Keys and values of committed latents, as many as a segment sees."""
    shape = transformer.config
    long = shape.model_copy(update={"segment_latents": shape.num_context_latents})
    clean = lively(replace(later_segment(long), context=None), long, seed)
    blocks = transformer.commit(clean.latents, transformer.prepare(clean.conditions))
    assert all(isinstance(block, BlockContext) for block in blocks)
    return Context(clean.conditions.coordinates, None, blocks)


def small_transformer(shape: TransformerConfig, seed: int = 0) -> WorldModelTransformer:
    """A small network in which nothing is at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = WorldModelTransformer(shape)
    noised(transformer, seed)
    return transformer
