"""Parts of a segment: what does not need a GPU to be seen right."""

import dataclasses

import torch
from tiny import CONFIG, tiny_model

from worldloom.bench.gpu_parts import Repeats, encode_time, velocity_of
from worldloom.bench.model import random_inputs
from worldloom.model.cost.dry_run import later_segment
from worldloom.rollout.realtime.fast_transformer import FastTransformer


def test_a_steps_velocity_is_the_same_by_fast_and_plain_passes():
    model = tiny_model()
    model.transformer.to(torch.bfloat16)  # the type of the context's random keys and values
    inputs = random_inputs(later_segment, CONFIG, torch.Generator().manual_seed(0))
    fast = dataclasses.replace(model, transformer=FastTransformer(model.transformer))
    expected, found = velocity_of(model, inputs), velocity_of(fast, inputs)
    assert expected.abs().max() > 0
    assert (found - expected).norm() / expected.norm() < 0.03


def test_encoding_is_timed_per_frame():
    found = encode_time(tiny_model(), 90, Repeats(num_samples=3, num_warmup=1), seed=0)
    assert (found.num_samples, found.num_warmup) == (3, 1)
    assert found.median > 0
