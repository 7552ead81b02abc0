"""The velocity of whole clips, eager and compiled."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.velocity import Seen, compiled

SMALL = CONFIG.model_copy(update={"num_blocks": 1})


@pytest.mark.parametrize("compilation", ["default", "cuda_graphs"])
def test_compiled_and_eager_losses_and_gradients_agree(compilation: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = WorldModelTransformer(SMALL)
        for parameter in network.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.1)
    clips = SegmentedClips(tiny_clips(num_segments=2), SMALL, RetrievalConfig())
    batch = clips.batch(torch.arange(2))
    generator = torch.Generator().manual_seed(1)
    shape = (4, SMALL.latent_channels, SMALL.segment_latents, 4, 4)
    noisy, sigma = torch.randn(shape, generator=generator), torch.rand(4, generator=generator)
    seen, results = Seen(batch.latents), []
    # The graph and its gradient are the compiler's; `aot_eager` leaves out minutes of fusing.
    for predict in (compiled("none"), compiled(compilation, backend="aot_eager")):
        network.zero_grad()
        loss = predict(network, Conditioner(SMALL, INTRINSICS), batch, seen, noisy, sigma)
        loss.square().mean().backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        results.append([loss.detach(), *gradients])
    for eager, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-3, atol=1e-5)
