"""Later steps repeat what a stretch of blocks said at a segment's first step."""

import dataclasses

import pytest
import torch
from small_streams import model_of, prepared_of, walk

from worldloom.errors import ConfigError
from worldloom.rollout.realtime.fast_transformer import FastTransformer

LATENTS = torch.randn(2, 1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
SIGMA = torch.full((1, 1), 0.7)


def steps(model, **options):
    """The velocities of two steps on one prepared segment."""
    network = FastTransformer(model.transformer, **options)
    prepared = prepared_of(model, network)
    with torch.no_grad():
        return [network.denoise(latents, SIGMA, prepared) for latents in LATENTS]


def test_a_first_step_is_whole_and_a_later_one_is_not():
    model = model_of()
    whole, cached = steps(model), steps(model, reused_blocks=range(1, 2))
    torch.testing.assert_close(cached[0], whole[0], rtol=1e-5, atol=1e-6)
    assert (cached[1] - whole[1]).norm() / whole[1].norm() > 1e-3


@pytest.mark.parametrize("stretch", [range(0, 1), range(1, 2), range(0, 2)])
def test_a_step_on_the_same_latents_repeats_the_same_answer(stretch):
    model = model_of()
    network = FastTransformer(model.transformer, reused_blocks=stretch)
    prepared = prepared_of(model, network)
    with torch.no_grad():
        first, again = (network.denoise(LATENTS[0], SIGMA, prepared) for _ in range(2))
    torch.testing.assert_close(again, first, rtol=1e-4, atol=1e-6)


def test_a_new_segment_begins_with_a_whole_step():
    model = model_of(reach="segment")
    network = FastTransformer(model.transformer, reused_blocks=range(1, 2))
    cached = dataclasses.replace(model, transformer=network)
    first = walk(cached)
    torch.testing.assert_close(walk(cached), first, rtol=0, atol=0)
    assert (first - walk(model)).norm() / first.norm() > 1e-4


def test_keys_of_blocks_that_are_left_out_are_refused():
    model = model_of()
    network = FastTransformer(model.transformer, reused_blocks=range(1, 2))
    prepared = prepared_of(model, network)
    with pytest.raises(ConfigError, match=r"repeats blocks range\(1, 2\)"):
        network.denoise_and_keep(LATENTS[0], SIGMA, prepared)
