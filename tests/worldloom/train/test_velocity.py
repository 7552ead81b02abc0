"""The velocity of whole clips, eager and compiled."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips
from torch import Tensor

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.velocity import Predict, Seen, compile_blocks, compiled, predict_velocity

SMALL = CONFIG.model_copy(update={"num_blocks": 1})


def network() -> WorldModelTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = WorldModelTransformer(SMALL)
        for parameter in made.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.1)
    return made


def loss_and_gradients(transformer: WorldModelTransformer, predict: Predict) -> list[Tensor]:
    clips = SegmentedClips(tiny_clips(num_segments=2), SMALL, RetrievalConfig())
    batch = clips.batch(torch.arange(2))
    generator = torch.Generator().manual_seed(1)
    shape = (4, SMALL.latent_channels, SMALL.segment_latents, 4, 4)
    noisy, sigma = torch.randn(shape, generator=generator), torch.rand(4, generator=generator)
    conditioner = Conditioner(SMALL, INTRINSICS)
    velocity = predict(transformer, conditioner, batch, Seen(batch.latents), noisy, sigma)
    loss = velocity.square().mean()
    loss.backward()
    gradients = [p.grad.clone() for p in transformer.parameters() if p.grad is not None]
    return [loss.detach(), *gradients]


@pytest.mark.parametrize("compilation", ["default", "cuda_graphs", "blocks"])
def test_compiled_and_eager_losses_and_gradients_agree(compilation: str) -> None:
    """The graph and its gradient are the compiler's; `aot_eager` leaves out minutes of fusing."""
    plain, fused = network(), network()
    eager = loss_and_gradients(plain, predict_velocity)
    if compilation == "blocks":
        compile_blocks(fused, backend="aot_eager")
        found = loss_and_gradients(fused, predict_velocity)
    else:
        found = loss_and_gradients(fused, compiled(compilation, backend="aot_eager"))
    assert len(found) == len(eager)
    for expected, value in zip(eager, found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)
