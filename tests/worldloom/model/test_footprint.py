"""A footprint counts the real modules, and grows with the shape as it must."""

from __future__ import annotations

import torch

from worldloom.model.config import TransformerConfig
from worldloom.model.footprint import footprint
from worldloom.model.transformer import WorldModelTransformer

CONFIG = TransformerConfig()


def test_the_parts_are_the_parameters_of_the_network() -> None:
    counted = footprint(CONFIG).parameters
    with torch.device("meta"):
        network = WorldModelTransformer(CONFIG)
    assert counted.total == sum(parameter.numel() for parameter in network.parameters())
    assert counted.total == counted.core + counted.camera + counted.action
    assert min(counted.core, counted.camera, counted.action) > 0


def test_tokens_and_bytes_follow_from_the_shape() -> None:
    found = footprint(CONFIG)
    assert found.tokens_per_segment == CONFIG.segment_latents * found.tokens_per_latent_frame
    assert found.weight_bytes == 4 * found.parameters.total
    keys_and_values = 2 * CONFIG.num_blocks * found.tokens_per_latent_frame * CONFIG.dim
    assert found.kv_bytes_per_latent_frame == 4 * keys_and_values


def test_more_blocks_cost_more() -> None:
    small, large = (
        footprint(CONFIG.model_copy(update={"num_blocks": CONFIG.num_blocks + more}))
        for more in (0, 1)
    )
    assert large.flops_per_forward > small.flops_per_forward
    assert large.parameters.total > small.parameters.total
    # Each token meets each weight of a matrix once: two operations at the least.
    assert small.flops_per_forward > small.parameters.core * small.tokens_per_segment
