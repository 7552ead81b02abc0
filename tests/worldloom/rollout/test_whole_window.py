"""A segment and its context as one sequence: who reads whom, and what is left out."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_transformer

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.errors import ConfigError
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.whole_window import denoise_joined, joined_conditions

SHAPE = CONFIG.model_copy(update={"reach": "bidirectional", "num_action_blocks": 0})
M, T = SHAPE.num_context_latents, SHAPE.segment_latents


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = WorldModelTransformer(SHAPE)
        for parameter in made.parameters():
            if not parameter.detach().abs().sum():
                torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def velocity(context, noisy, is_valid=None):
    conditioner, transformer = Conditioner(SHAPE, INTRINSICS), network()
    poses = torch.eye(4).repeat(1, M + T, 1, 1)
    poses[0, :, 2, 3] = torch.arange(M + T) * 0.2
    anchor = poses[:, M - 1]
    width = SHAPE.action_window_frames

    def told(count, at):
        windows = (
            torch.zeros(1, count, width, NUM_KEYS), torch.zeros(1, count, width, NUM_MOUSE_AXES),
        )  # fmt: skip
        prompt = torch.zeros(1, SHAPE.text_length, dtype=torch.long)
        return conditioner.noisy(poses[:, at], anchor, windows, prompt)

    places = conditioner.context(None, poses[:, :M], anchor, torch.arange(M, 0, -1)[None], is_valid)
    conditions = joined_conditions(places, told(M, slice(M)), told(T, slice(M, M + T)), 3)
    prepared = transformer.prepare(conditions)
    with torch.no_grad():
        return denoise_joined(transformer, context, noisy, torch.full((1, T), 0.5), prepared)


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    grid = (SHAPE.latent_channels, 4, 4)
    return (
        torch.randn(1, M, *grid, generator=generator),
        torch.randn(1, grid[0], T, *grid[1:], generator=generator),
    )


def test_the_segment_reads_the_context_and_the_context_the_segment():
    context, noisy = drawn(0)
    plain = velocity(context, noisy)
    assert plain.shape == noisy.shape
    other = context.clone()
    other[:, 0] += 1
    assert not torch.allclose(velocity(other, noisy), plain, atol=1e-4)
    # The last new latent moves the first one, beside it and through the context.
    later = noisy.clone()
    later[:, :, -1] += 1
    assert not torch.allclose(velocity(context, later)[:, :, 0], plain[:, :, 0], atol=1e-4)


def test_what_is_not_there_is_not_read():
    context, noisy = drawn(1)
    is_valid = torch.ones(1, M, dtype=torch.bool)
    is_valid[0, 1] = False
    other = context.clone()
    other[:, 1] += 5
    torch.testing.assert_close(velocity(other, noisy, is_valid), velocity(context, noisy, is_valid))
    assert not torch.allclose(velocity(other, noisy), velocity(context, noisy), atol=1e-4)


def test_such_a_network_commits_nothing():
    transformer = tiny_transformer()
    transformer.config = SHAPE
    with pytest.raises(ConfigError, match="'bidirectional' commits nothing"):
        transformer.commit(torch.zeros(1, 4, 3, 4, 4), None)
