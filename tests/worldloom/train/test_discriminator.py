"""The discriminator: what it learns from, what it leaves alone, and how hard it pulls."""

from __future__ import annotations

import pytest
import torch

from worldloom.train.discriminator import PatchDiscriminator, balance, fooling_loss, own_loss


def frames(seed: int) -> torch.Tensor:
    return 2 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.fixture
def discriminator() -> PatchDiscriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchDiscriminator()


@pytest.mark.slow
def test_it_learns_to_tell_sharp_frames_from_smooth_ones(discriminator: PatchDiscriminator) -> None:
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    for seed in range(40):
        sharp = frames(seed)
        loss = own_loss(discriminator, torch.nn.functional.avg_pool2d(sharp, 3, 1, 1), sharp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sharp = frames(1000)
    smooth = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    assert discriminator(sharp).mean() > discriminator(smooth).mean() + 0.5


def test_its_own_loss_gives_the_decoder_nothing(discriminator: PatchDiscriminator) -> None:
    decoded = frames(0).requires_grad_()
    own_loss(discriminator, decoded, frames(1)).backward()
    assert decoded.grad is None
    assert all(p.grad is not None for p in discriminator.parameters())


def test_being_fooled_teaches_the_decoder_alone(discriminator: PatchDiscriminator) -> None:
    decoded = frames(0).requires_grad_()
    fooling_loss(discriminator, decoded).backward()
    assert decoded.grad is not None
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(p.requires_grad for p in discriminator.parameters())


def test_both_losses_pull_equally_hard(discriminator: PatchDiscriminator) -> None:
    decoded = frames(0).requires_grad_()
    distance, fooling = (decoded - 1).square().mean(), fooling_loss(discriminator, decoded)
    weight = balance(distance, fooling, decoded)
    pulls = [
        torch.autograd.grad(loss, decoded, retain_graph=True)[0].norm()
        for loss in (distance, weight * fooling)
    ]
    assert float(pulls[0]) == pytest.approx(float(pulls[1]), rel=1e-4)
