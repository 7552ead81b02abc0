"""Causal convolutions over latent time, with a feature cache that makes chunks equal the whole.

Time is folded: a tensor is `[B, T, C, H, W]`, and a convolution with a temporal kernel of k sees
the frames t-k+1 .. t as k times the channels of one 2-D convolution, which a CPU runs several
times faster than a 3-D one of the same arithmetic. What precedes the first frame is zero. The
cache keeps each convolution's last k-1 inputs. It does not know what the features mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FeatureCache = dict[str, Float[Tensor, "B _ _ _ _"]]
Past = Mapping[str, Float[Tensor, "B _ _ _ _"]]
Features = Float[Tensor, "B T C H W"]
"""The last inputs `[B, k-1, C, H, W]` of each causal convolution, by its name."""


class CausalConv(nn.Module):
    """A 3x3 convolution that sees this frame and the `temporal_kernel - 1` before it."""

    def __init__(self, name: str, num_in: int, num_out: int, temporal_kernel: int) -> None:
        super().__init__()
        self.name = name
        self.num_past = temporal_kernel - 1
        self.conv = nn.Conv2d(num_in * temporal_kernel, num_out, 3, padding=1)

    def forward(
        self, features: Features, cache: Past | None, kept: FeatureCache
    ) -> Float[Tensor, "B T D H W"]:
        """Convolve `[B, T, C, H, W]`; reads the past from `cache`, leaves its own in `kept`."""
        if self.num_past:
            past = self._past(features, cache)
            features = torch.cat([past, features], dim=1)
            kept[self.name] = features[:, -self.num_past :]
            num_frames = features.shape[1] - self.num_past
            shifted = [features[:, i : i + num_frames] for i in range(self.num_past + 1)]
            features = torch.cat(shifted, dim=2)
        return unfold_time(self.conv(fold_time(features)), features.shape[1])

    def _past(self, features: Tensor, cache: Past | None) -> Tensor:
        if cache is not None:
            return cache[self.name].to(features.dtype)
        shape = (features.shape[0], self.num_past, *features.shape[2:])
        return features.new_zeros(shape)


class ChannelNorm(nn.Module):
    """RMS norm over the channels of each position of `[B, T, C, H, W]`."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, features: Features) -> Features:
        """Scale each position's channel vector to unit root mean square, times the weight."""
        channels_last = features.movedim(2, -1)
        normed = functional.rms_norm(
            channels_last, self.weight.shape, self.weight.to(features.dtype), eps=1e-6
        )
        return normed.movedim(-1, 2)


class ResidualBlock(nn.Module):
    """Norm, SiLU, causal convolution, twice, added to the input; starts as the identity."""

    def __init__(self, name: str, num_channels: int, temporal_kernel: int) -> None:
        super().__init__()
        self.norm_in = ChannelNorm(num_channels)
        self.conv_in = CausalConv(f"{name}.conv_in", num_channels, num_channels, temporal_kernel)
        self.norm_out = ChannelNorm(num_channels)
        self.conv_out = CausalConv(f"{name}.conv_out", num_channels, num_channels, 1)
        zero_init(self.conv_out.conv)

    def forward(self, features: Features, cache: Past | None, kept: FeatureCache) -> Features:
        """Return the features plus the branch; the cache is passed on to the convolutions."""
        hidden = self.conv_in(functional.silu(self.norm_in(features)), cache, kept)
        hidden = self.conv_out(functional.silu(self.norm_out(hidden)), cache, kept)
        total: Tensor = features + hidden
        return total


def zero_init(conv: nn.Conv2d) -> None:
    """Let a convolution answer zero until it has learned."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def fold_time(features: Features) -> Float[Tensor, "N C H W"]:
    """Reshape `[B, T, C, H, W]` to `[B T, C, H, W]` in channels-last memory."""
    return features.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def unfold_time(features: Float[Tensor, "N C H W"], num_frames: int) -> Features:
    """Reshape `[B T, C, H, W]` back to `[B, T, C, H, W]`."""
    return features.reshape(-1, num_frames, *features.shape[1:])
