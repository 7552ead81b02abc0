"""What a transformer costs, without allocating it: parameters, operations, bytes.

The network is built on torch's meta device and one denoising pass is traced there, so the figures
are counted from the real modules, not from a formula beside them.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.config import Config
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import RAY_DIM
from worldloom.model.rope import NUM_COORDINATES
from worldloom.model.transformer import Context, SegmentInput, WorldModelTransformer

_FLOAT_BYTES = 4


class ParameterCounts(Config):
    """Parameters by part."""

    total: int = Field(description="all parameters")
    core: int = Field(description="everything but camera injectors and action modules")
    camera: int = Field(description="camera injectors and the embedding of rays")
    action: int = Field(description="action modules")


class Footprint(Config):
    """What a transformer costs."""

    parameters: ParameterCounts = Field(description="parameters by part")
    tokens_per_latent_frame: int = Field(description="tokens of one latent")
    tokens_per_segment: int = Field(description="new tokens of one segment")
    context_tokens: int = Field(description="committed tokens that a segment sees at most")
    flops_per_forward: int = Field(description="operations of one denoising pass of a segment")
    weight_bytes: int = Field(description="bytes of the weights in fp32")
    kv_bytes_per_latent_frame: int = Field(description="bytes of one latent's keys and values")


def footprint(config: TransformerConfig) -> Footprint:
    """Count what a transformer of this shape costs."""
    with torch.device("meta"):
        transformer = WorldModelTransformer(config)
        segment, context = _segment(config), _context(config)
    counts = {"camera": 0, "action": 0, "core": 0}
    for name, parameter in transformer.named_parameters():
        counts[_part(name)] += parameter.numel()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        transformer.denoise(segment, context)
    total = sum(counts.values())
    return Footprint(
        parameters=ParameterCounts(total=total, **counts),
        tokens_per_latent_frame=config.tokens_per_latent_frame,
        tokens_per_segment=config.segment_latents * config.tokens_per_latent_frame,
        context_tokens=config.num_context_latents * config.tokens_per_latent_frame,
        flops_per_forward=counter.get_total_flops(),
        weight_bytes=_FLOAT_BYTES * total,
        kv_bytes_per_latent_frame=2
        * _FLOAT_BYTES
        * config.num_blocks
        * config.tokens_per_latent_frame
        * config.dim,
    )


def _part(name: str) -> str:
    if ".camera." in name or name.startswith("ray_embed."):
        return "camera"
    return "action" if ".actions." in name else "core"


def _segment(config: TransformerConfig) -> SegmentInput:
    latents, window = config.segment_latents, config.action_window_frames
    places = config.tokens_per_latent_frame
    return SegmentInput(
        latents=torch.zeros(
            1, config.latent_channels, latents, config.latent_height, config.latent_width
        ),
        sigma=torch.zeros(1),
        rays=torch.zeros(1, latents, places, RAY_DIM * config.patch_size**2),
        coordinates=torch.zeros(1, latents * places, NUM_COORDINATES),
        keyboard=torch.zeros(1, latents, window, NUM_KEYS),
        mouse=torch.zeros(1, latents, window, NUM_MOUSE_AXES),
        prompt_tokens=torch.zeros(1, config.text_length, dtype=torch.long),
    )


def _context(config: TransformerConfig) -> Context:
    tokens = config.num_context_latents * config.tokens_per_latent_frame
    shape = (1, tokens, config.num_heads, config.head_dim)
    return Context(
        blocks=[
            BlockContext(torch.zeros(shape), torch.zeros(shape)) for _ in range(config.num_blocks)
        ],
        coordinates=torch.zeros(1, tokens, NUM_COORDINATES),
        is_valid=torch.ones(1, tokens, dtype=torch.bool),
    )
