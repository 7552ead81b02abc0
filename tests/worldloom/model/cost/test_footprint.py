"""A footprint counts the real modules, and grows with the shape as it must."""

from __future__ import annotations

import pytest

from worldloom.model.config import TransformerConfig
from worldloom.model.cost.footprint import footprint
from worldloom.model.transformer import WorldModelTransformer
from worldloom.presets import preset

CONFIG = TransformerConfig()


def test_the_parts_are_the_parameters_of_the_network() -> None:
    counted = footprint(CONFIG).parameters
    network = WorldModelTransformer(CONFIG)
    assert counted.total == sum(parameter.numel() for parameter in network.parameters())
    assert counted.total == counted.core + counted.camera + counted.action
    per_action = sum(p.numel() for p in network.blocks[0].actions.parameters())
    assert counted.action == CONFIG.num_action_blocks * per_action
    per_camera = sum(p.numel() for p in network.blocks[0].camera.parameters())
    embedded = sum(p.numel() for p in network.ray_embed.parameters())
    assert counted.camera == CONFIG.num_blocks * per_camera + embedded


@pytest.mark.slow
def test_tokens_by_segment_are_the_specifications() -> None:
    reference = footprint(preset("mg3-5b").transformer).tokens
    assert (reference.first_segment, reference.later_segment) == (13_200, 16_720)
    assert reference.context == 0
    stream = footprint(preset("stream-5b").transformer).tokens
    assert (stream.first_segment, stream.later_segment, stream.context) == (880, 2640, 7920)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano-reference", "nano-stream"])
def test_a_segment_prepares_once_and_commits_in_a_stream(name: str) -> None:
    found = footprint(preset(name).transformer)
    passes = found.flops_by_pass
    assert found.flops_per_forward == passes.prepare + passes.evaluation
    assert found.flops_per_forward == found.flops_by_part.total
    assert passes.segment(3) - passes.segment(2) == passes.evaluation
    assert passes.segment(1) == found.flops_per_forward + passes.commit
    assert (passes.commit > 0) == (name == "nano-stream")


@pytest.mark.slow
def test_more_blocks_cost_more() -> None:
    small, large = (
        footprint(CONFIG.model_copy(update={"num_blocks": CONFIG.num_blocks + more}))
        for more in (0, 1)
    )
    assert large.flops_per_forward > small.flops_per_forward
    assert large.parameters.total > small.parameters.total
    # Each token meets each weight of a block's matrices once: two operations at the least.
    grown = large.flops_per_forward - small.flops_per_forward
    weights = large.parameters.total - small.parameters.total
    assert grown > weights * small.tokens.later_segment
