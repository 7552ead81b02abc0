"""One small forward of each layout from fixed seeds, told in a few numbers; not a test.

What the numbers are on a kind of device is in `tests/goldens/transformer.json`;
`tests/goldens/write.py` writes them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import (
    Context,
    PreparedSegment,
    SegmentConditions,
    WorldModelTransformer,
)

GOLDENS = Path(__file__).parents[2] / "goldens" / "transformer.json"
# Of the largest value: float32 sums in another order differ by a few parts in a million.
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}
NUM_VALUES = 8

STREAM = TransformerConfig(
    latent_channels=4, latent_height=4, latent_width=6, dim=80, num_blocks=3, num_heads=4,
    ffn_dim=96, num_action_blocks=2, action_dim=32, action_num_heads=2, num_text_blocks=2,
    text_dim=12,
)  # fmt: skip
REFERENCE = STREAM.model_copy(
    update={
        "layout": "reference",
        "position": "lattice",
        "is_residual_normed": True,
        "rope_jitter": 0.8,
        "has_place_embedding": False,
        "num_text_blocks": 3,
        "text": "umt5",
    }
)
LAYOUTS = {"stream": STREAM, "reference": REFERENCE}
_NUM_LATENTS, _NUM_CONTEXT = 5, 3


def small_transformer(config: TransformerConfig) -> WorldModelTransformer:
    """A transformer of fixed random weights, none of them zero, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        transformer = WorldModelTransformer(config)
        for parameter in transformer.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.data.add_(torch.randn(parameter.shape) * scale)
    return transformer.eval().requires_grad_(requires_grad=False)


def small_velocity(transformer: WorldModelTransformer) -> Tensor:
    """Return the velocity [1, C, T, H, W] of fixed random inputs, in the weights' type."""
    config, device = transformer.config, transformer.patch_embed.weight.device
    generator = torch.Generator().manual_seed(21)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    is_stream = config.layout == "stream"
    places = config.tokens_per_latent_frame
    numbers = draw(1, _NUM_LATENTS * places, transformer.rope.frequencies.table.shape[1])
    prompt = torch.arange(config.text_length, device=device)[None]
    conditions = SegmentConditions(
        rays=draw(1, _NUM_LATENTS, places, transformer.ray_embed.patch.in_features),
        coordinates=numbers if is_stream else numbers.mul(6).round(),
        keyboard=draw(1, _NUM_LATENTS, config.action_window_frames, 6),
        mouse=draw(1, _NUM_LATENTS, config.action_window_frames, 2),
        prompt=prompt if is_stream else draw(1, config.text_length, config.text_dim),
        num_memory=0 if is_stream else 2,
    )
    latents = draw(
        1, config.latent_channels, _NUM_LATENTS, config.latent_height, config.latent_width
    )
    sigma = torch.tensor([[0.9] * _NUM_LATENTS if is_stream else [0.0] * 3 + [0.9] * 2])
    prepared = transformer.prepare(conditions)
    context = _context(transformer, draw, prepared) if is_stream else None
    return transformer.denoise(latents, sigma.to(device), prepared, context)


def golden(device: str) -> dict[str, dict[str, float | list[float]]]:
    """Return what the velocities are on a device: statistics and a few values, by layout."""
    found = {}
    for name, config in LAYOUTS.items():
        velocity = small_velocity(small_transformer(config).to(device)).double().cpu()
        values = velocity.flatten()[:: velocity.numel() // NUM_VALUES][:NUM_VALUES]
        found[name] = {
            "mean": float(velocity.mean()),
            "standard_deviation": float(velocity.std()),
            "largest": float(velocity.abs().max()),
            "values": values.tolist(),
        }
    return found


def stored_goldens() -> dict[str, dict[str, dict[str, float | list[float]]]]:
    """Return the goldens by kind of device."""
    return json.loads(GOLDENS.read_text()) if GOLDENS.is_file() else {}


def _context(transformer: WorldModelTransformer, draw, prepared: PreparedSegment) -> Context:
    """Return random latents committed under the first conditions of the segment."""
    config = transformer.config
    tokens = _NUM_LATENTS * config.tokens_per_latent_frame
    latents = draw(
        1, config.latent_channels, _NUM_LATENTS, config.latent_height, config.latent_width
    )
    blocks = transformer.commit(latents, prepared)
    kept = _NUM_CONTEXT * config.tokens_per_latent_frame
    valid = torch.ones(1, kept, dtype=torch.bool, device=latents.device)
    valid[:, : config.tokens_per_latent_frame] = False
    return Context(
        coordinates=draw(1, tokens, transformer.rope.frequencies.table.shape[1])[:, :kept],
        is_valid=valid,
        blocks=[BlockContext(b.keys[:, :kept], b.values[:, :kept]) for b in blocks],
    )
