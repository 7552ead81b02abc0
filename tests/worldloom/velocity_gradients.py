"""A loss and its gradients through every part of a small network; not a test."""

from __future__ import annotations

import torch
from tiny import CONFIG, INTRINSICS, tiny_clips
from torch import Tensor

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.velocity import Predict, Seen

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
    device = transformer.patch_embed.weight.device
    conditioner, batch = Conditioner(SMALL, INTRINSICS).to(device), batch.to(device)
    noisy, sigma = noisy.to(device), sigma.to(device)
    velocity = predict(transformer, conditioner, batch, Seen(batch.latents), noisy, sigma)
    loss = velocity.square().mean()
    loss.backward()
    gradients = [p.grad.clone() for p in transformer.parameters() if p.grad is not None]
    return [loss.detach(), *gradients]
