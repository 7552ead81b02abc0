"""What two blocks hold at their fullest is what any number of them does."""

from __future__ import annotations

import pytest
import torch
from small_presets import scaled_down
from torch import Tensor

from worldloom.model.cost.dry_run import later_segment
from worldloom.model.cost.footprint import meta_transformer
from worldloom.model.cost.live_bytes import live_bytes
from worldloom.model.cost.working_bytes import working_bytes
from worldloom.presets import preset


@pytest.mark.slow
@pytest.mark.parametrize("widest", ["ffn_dim", "action_dim"])
@pytest.mark.parametrize("name", ["nano-stream", "nano-reference", "stream-5b"])
def test_the_fullest_moment_of_two_blocks_is_that_of_all(name: str, widest: str) -> None:
    """Followed through every block, and compared with what the plan follows through two."""
    shape = scaled_down(preset(name).transformer)
    shape = shape.model_copy(update={"num_blocks": 6, "num_action_blocks": 3, widest: 512})
    transformer = meta_transformer(shape)
    for parameter in transformer.parameters():
        parameter.data = parameter.data.bfloat16()
    with torch.device("meta"):
        inputs = later_segment(shape)
    known = [*transformer.parameters(), *transformer.buffers(), inputs.latents, inputs.sigma]
    known += [value for value in vars(inputs.conditions).values() if isinstance(value, Tensor)]
    if inputs.context is not None:
        known.append(inputs.context.coordinates)
        for block in inputs.context.blocks:
            block.keys, block.values = block.keys.bfloat16(), block.values.bfloat16()
            known += [block.keys, block.values]
    with torch.device("meta"), live_bytes(known) as follower:
        prepared = transformer.prepare(inputs.conditions)
        plans = follower.peak = follower.now
        transformer.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)
    assert working_bytes(shape) == (plans, follower.peak - plans)


def test_a_longer_segment_holds_more() -> None:
    shape = scaled_down(preset("nano-stream").transformer)
    longer = shape.model_copy(update={"segment_latents": shape.segment_latents + 1})
    (plans, activations), (more_plans, more_activations) = map(working_bytes, (shape, longer))
    assert more_plans > plans
    assert more_activations > activations
