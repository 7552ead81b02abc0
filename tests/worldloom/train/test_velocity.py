"""The velocity of whole clips, eager and compiled."""

from __future__ import annotations

import pytest
import torch
from tiny import INTRINSICS, tiny_clips
from velocity_gradients import SMALL, loss_and_gradients, network

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.velocity import Seen, compile_blocks, compiled, predict_velocity


def require_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_one_graph_captures_the_whole_and_its_gradients_agree() -> None:
    """What the compiler makes of the graph is a test of its own, since it takes many seconds."""
    found = loss_and_gradients(network(), compiled("default", backend="eager"))
    require_close(found, loss_and_gradients(network(), predict_velocity))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_recorded_gives_the_eager_loss_and_gradients(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: nothing is recorded on others")
    found = loss_and_gradients(network().to(device), compiled("recorded"))
    require_close(found, loss_and_gradients(network().to(device), predict_velocity))


@pytest.mark.slow
def test_compiled_blocks_give_the_eager_loss_and_gradients() -> None:
    """The graphs and their gradients are the compiler's; `aot_eager` leaves out their fusing."""
    fused = network()
    compile_blocks(fused, backend="aot_eager")
    found = loss_and_gradients(fused, predict_velocity)
    require_close(found, loss_and_gradients(network(), predict_velocity))


def test_joined_segments_see_past_and_memory_each_in_its_place() -> None:
    """Another memory changes the segments that have one, and no others."""
    shape = SMALL.model_copy(update={"reach": "bidirectional"})
    transformer = network()
    transformer.config = shape
    clips = SegmentedClips(tiny_clips(num_segments=3), shape, RetrievalConfig())
    batch = clips.batch(torch.arange(2))
    conditioner = Conditioner(shape, INTRINSICS)
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(6, shape.latent_channels, shape.segment_latents, 4, 4, generator=generator)
    sigma = torch.rand(6, generator=generator)
    other = batch.latents + 0.5
    with torch.no_grad():
        found = predict_velocity(transformer, conditioner, batch, Seen(batch.latents), noisy, sigma)
        changed = predict_velocity(
            transformer, conditioner, batch, Seen(batch.latents, memory=other), noisy, sigma
        )
    has_memory = batch.context_valid[..., : shape.num_memory_latents].any(dim=-1).flatten()
    apart = (found - changed).abs().flatten(1).amax(dim=1) > 1e-5
    assert torch.equal(apart, has_memory)
    assert has_memory.any()
