"""Velocities under a view: recorded ones are those that a session's context gives."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips, tiny_transformer

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.self_rollout import RecordedVelocities, velocity_of, view_segment

SIZE = CONFIG.segment_latents


@pytest.mark.slow
@pytest.mark.parametrize("reach", ["latent", "segment"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_recorded_velocities_and_their_gradients_are_the_plain_ones(
    device: str, reach: str
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: nothing is recorded on others")
    shape = CONFIG.model_copy(update={"reach": reach})
    transformer = tiny_transformer().to(device)
    transformer.config = shape
    clips = SegmentedClips(tiny_clips(), shape, RetrievalConfig())
    batch = clips.batch(torch.arange(3)).to(device)
    conditioner = Conditioner(shape, INTRINSICS).to(device)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.tensor([False, True, False], device=device)
    recorded = RecordedVelocities()
    for segment in range(3):
        noisy = torch.randn(3, 4, SIZE, 4, 4, generator=generator).to(device)
        sigma = torch.rand(3, generator=generator).to(device)
        view = view_segment(batch, batch.latents, segment, SIZE, hidden)
        answers = []
        for velocities in (recorded, velocity_of):
            transformer.zero_grad()
            made = velocities(transformer, conditioner, view)(noisy, sigma)
            made.square().mean().backward()
            of_head = transformer.patch_embed.weight.grad
            assert of_head is not None
            answers.append((made.detach(), of_head.clone()))
        for found, wanted in zip(*answers, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        with torch.no_grad():  # committed once, then denoised step after step
            velocity = recorded(transformer, conditioner, view)
            for level in (sigma, sigma / 2):
                wanted = velocity_of(transformer, conditioner, view)(noisy, level)
                torch.testing.assert_close(velocity(noisy, level), wanted, atol=1e-4, rtol=1e-4)
