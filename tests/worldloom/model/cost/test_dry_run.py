"""Inputs that only count have the shapes that a network reads, on the default device."""

from __future__ import annotations

import pytest
import torch
from small_presets import scaled_down, small_transformer

from worldloom.model.cost.dry_run import committed_segment, later_segment
from worldloom.presets import PRESETS, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
@torch.no_grad()
def test_a_network_reads_them(name: str) -> None:
    shape = scaled_down(preset(name).transformer)
    transformer = small_transformer(shape)
    inputs = later_segment(shape)
    prepared = transformer.prepare(inputs.conditions)
    velocity = transformer.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)
    is_stream = shape.layout == "stream"
    seen = 0 if is_stream else shape.num_context_latents
    assert velocity.shape == (1, 4, shape.segment_latents + seen, 4, 4)
    assert inputs.conditions.num_memory == (0 if is_stream else 5)


@pytest.mark.parametrize("name", ["nano-stream", "nano-reference"])
@torch.no_grad()
def test_several_segments_are_read_at_once(name: str) -> None:
    shape = scaled_down(preset(name).transformer)
    transformer = small_transformer(shape)
    inputs = later_segment(shape, batch=3)
    prepared = transformer.prepare(inputs.conditions)
    assert len(transformer.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)) == 3


@pytest.mark.parametrize("reach", ["latent", "segment", "window"])
@torch.no_grad()
def test_a_commitment_reaches_as_far_as_it_may(reach: str) -> None:
    values = {"reach": reach, "accepts_inexact_replay": True}
    shape = scaled_down(preset("nano-stream").transformer).model_copy(update=values)
    inputs = committed_segment(shape)
    alone = (shape.segment_latents, 1) if reach == "latent" else (1, shape.segment_latents)
    assert (len(inputs.latents), inputs.latents.shape[2]) == alone
    assert (inputs.context is not None) == (reach == "window")
    transformer = small_transformer(shape)
    transformer.commit(inputs.latents, transformer.prepare(inputs.conditions), inputs.context)


def test_the_default_device_decides_where_they_lie() -> None:
    with torch.device("meta"):
        inputs = later_segment(preset("stream-5b").transformer)
    assert inputs.latents.is_meta
    assert inputs.context is not None
    assert inputs.context.blocks is not None
    assert inputs.context.blocks[29].keys.shape == (1, 9 * 880, 24, 128)
