"""Bytes that a running segment holds beside weights and context, followed on the meta device.

Its plans (what all denoising steps share) stay while it runs; of one evaluation what counts is the
fullest moment. Everything is in bfloat16, but what the network itself computes in float32. It does
not know weights' formats, sessions or GPUs.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from worldloom.model.config import TransformerConfig
from worldloom.model.cost.depth import shallow_terms
from worldloom.model.cost.dry_run import DryRun, later_segment
from worldloom.model.cost.footprint import meta_transformer
from worldloom.model.cost.live_bytes import live_bytes
from worldloom.model.transformer import WorldModelTransformer


@cache
def working_bytes(config: TransformerConfig) -> tuple[int, int]:
    """Return the bytes of a later segment's plans, and those alive beside them at the fullest."""
    inputs = _later_segment_in_bf16(config)
    known = _tensors(inputs)
    short = config.model_copy(update={"segment_latents": 1})  # weights know no length
    plans = 0
    for times, shape in shallow_terms(short):
        transformer = _in_bf16(shape)
        with torch.device("meta"), live_bytes([*_weights(transformer), *known]) as planned:
            kept = transformer.prepare(inputs.conditions)
        plans += times * planned.now
        del kept
    shallow = _in_bf16(_shallow(short))
    with torch.device("meta"), live_bytes([*_weights(shallow), *known]) as follower:
        prepared = shallow.prepare(inputs.conditions)
        beside = follower.peak = follower.now
        shallow.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)
    return plans, follower.peak - beside


def _shallow(config: TransformerConfig) -> TransformerConfig:
    """Return a shape of two blocks that hold at their fullest what any number of them does.

    A block lets go of all but the tokens, so depth adds nothing; the first of the two has whatever
    some blocks have, the second what all have.
    """
    blocks = min(2, config.num_blocks)

    def having(count: int) -> int:
        return blocks if count >= config.num_blocks else min(1, count)

    return config.model_copy(
        update={
            "num_blocks": blocks,
            "num_action_blocks": having(config.num_action_blocks),
            "num_text_blocks": having(config.num_text_blocks),
        }
    )


@cache
def _in_bf16(config: TransformerConfig) -> WorldModelTransformer:
    transformer = meta_transformer(config)
    for parameter in transformer.parameters():  # buffers stay: angles are computed in float32
        parameter.data = parameter.data.to(torch.bfloat16)
    return transformer


def _later_segment_in_bf16(config: TransformerConfig) -> DryRun:
    with torch.device("meta"):
        inputs = later_segment(config)
    for block in [] if inputs.context is None else inputs.context.blocks or []:
        block.keys, block.values = block.keys.bfloat16(), block.values.bfloat16()
    return inputs


def _weights(transformer: WorldModelTransformer) -> list[Tensor]:
    return [*transformer.parameters(), *transformer.buffers()]


def _tensors(inputs: DryRun) -> list[Tensor]:
    found = [inputs.latents, inputs.sigma]
    found += [value for value in vars(inputs.conditions).values() if isinstance(value, Tensor)]
    if inputs.context is not None:
        found.append(inputs.context.coordinates)
        for block in inputs.context.blocks or []:
            found += [block.keys, block.values]
    return found
