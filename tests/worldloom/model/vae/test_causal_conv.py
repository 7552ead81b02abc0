"""Causal convolutions: no frame sees a later one, and a stream in chunks equals the whole."""

from __future__ import annotations

import pytest
import torch

from worldloom.model.vae.causal_conv import (
    CausalConv,
    ChannelNorm,
    FeatureCache,
    ResidualBlock,
    fold_time,
    unfold_time,
)


def features(num_frames: int = 6, channels: int = 4) -> torch.Tensor:
    return torch.randn(2, num_frames, channels, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_convolution_in_chunks_equals_the_whole(kernel: int) -> None:
    conv = CausalConv("conv", 4, 3, kernel)
    whole = conv(features(), None, {})
    cache: FeatureCache | None = None
    parts = []
    for chunk in features().split([1, 3, 2], dim=1):
        kept: FeatureCache = {}
        parts.append(conv(chunk, cache, kept))
        cache = kept
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)


def test_convolution_equals_a_causal_3d_convolution() -> None:
    conv = CausalConv("conv", 4, 3, 2)
    weight = conv.conv.weight.reshape(3, 2, 4, 3, 3).transpose(1, 2)
    padded = torch.nn.functional.pad(features().transpose(1, 2), (1, 1, 1, 1, 1, 0))
    expected = torch.nn.functional.conv3d(padded, weight, conv.conv.bias).transpose(1, 2)
    assert torch.allclose(conv(features(), None, {}), expected, atol=1e-5)


def test_no_frame_sees_a_later_one() -> None:
    block = ResidualBlock("block", 4, 3)
    torch.nn.init.normal_(block.conv_out.conv.weight)
    changed = features()
    changed[:, 3:] += 1
    before, after = block(features(), None, {}), block(changed, None, {})
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_residual_block_starts_as_the_identity() -> None:
    assert torch.equal(ResidualBlock("block", 4, 2)(features(), None, {}), features())


def test_norm_gives_unit_root_mean_square_over_channels() -> None:
    normed = ChannelNorm(4)(features() * 7)
    assert torch.allclose(normed.square().mean(dim=2), torch.ones(2, 6, 5, 7), atol=1e-4)


def test_folding_time_is_undone() -> None:
    assert torch.equal(unfold_time(fold_time(features()), 6), features())
