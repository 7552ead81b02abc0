"""Layers of the Wan2.2 VAE that keep a stream's resolution: convolution, norm, block, attention.

Features are `[B, C, T, H, W]`. A layer that looks back in time (`Streamed`) reads what the stream
left in `past` (None before frame 0: there is silence, zeros) and leaves its own last inputs in
`kept`; nothing is hidden in a module, and what is kept has the same shape after every chunk, so
that a compiled chunk serves for all. Attribute names and indices are those of the public weights.
It does not know resolutions, files or what the features mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from worldloom.model.vae.causal_conv import FeatureCache, fold_time, unfold_time

Past = Mapping[str, Float[Tensor, "B _ _ _ _"]]
"""The last inputs `[B, C, k-1, H, W]` of each layer that looks back, by its name."""
Features = Float[Tensor, "B C T H W"]
Outputs = Float[Tensor, "B D S Y X"]
"""Features whose channels, frames, rows and columns may be others than the inputs'."""


class Streamed(nn.Module):
    """A layer whose forward takes `(features, past, kept)`."""


class StreamedLayers(nn.ModuleList, Streamed):
    """Layers in turn; the stream's past goes to those that look back."""

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Apply every layer."""
        for layer in self:
            if isinstance(layer, Streamed):
                features = layer(features, past, kept)
            else:
                features = layer(features)
        return features


class CausalConv3d(Streamed):
    """A convolution that sees a frame and the `kernel[0] - 1` frames before it."""

    def __init__(
        self,
        name: str,
        num_in: int,
        num_out: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        *,
        temporal_stride: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self.num_past = kernel[0] - 1
        self.weight = nn.Parameter(torch.empty(num_out, num_in, *kernel))
        self.bias = nn.Parameter(torch.empty(num_out))
        self._stride = (temporal_stride, 1, 1)
        self._padding = (0, kernel[1] // 2, kernel[2] // 2)
        bound = 1 / math.sqrt(num_in * math.prod(kernel))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Convolve frames after what precedes them: the past, or silence before frame 0."""
        if self.num_past:
            if past is None:
                features = functional.pad(features, (0, 0, 0, 0, self.num_past, 0))
            else:
                features = torch.cat([past[self.name].to(features.dtype), features], dim=2)
            # A clone, because a view would keep the whole chunk alive until the next one.
            kept[self.name] = features[:, :, -self.num_past :].clone()
        return self.convolve(features)

    def convolve(self, features: Features) -> Outputs:
        """Convolve frames that already carry their past."""
        return functional.conv3d(features, self.weight, self.bias, self._stride, self._padding)

    def keep_silence(self, features: Features, kept: FeatureCache) -> None:
        """Leave a past of zeros, shaped like frames of these features."""
        shape = (0, 0, 0, 0, self.num_past - 1, 0)
        kept[self.name] = torch.zeros_like(functional.pad(features[:, :, :1], shape))


class RMSNorm(nn.Module):
    """Scale the channel vector of each position to unit root mean square, times a weight."""

    def __init__(self, num_channels: int, num_axes: int) -> None:
        """Make the weight `[C, 1, ...]` for features with `num_axes` axes behind the channels."""
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_channels, *(1,) * num_axes))
        self.root = math.sqrt(num_channels)

    def forward(self, features: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B C *grid"]:
        """Normalise axis 1."""
        return functional.normalize(features, dim=1) * self.root * self.gamma


class WanResidualBlock(Streamed):
    """Norm, SiLU, causal convolution, twice, added to the input or to its projection."""

    def __init__(self, name: str, num_in: int, num_out: int) -> None:
        super().__init__()
        self.residual = StreamedLayers(
            [
                RMSNorm(num_in, 3),
                nn.SiLU(),
                CausalConv3d(f"{name}.residual.2", num_in, num_out),
                RMSNorm(num_out, 3),
                nn.SiLU(),
                nn.Identity(),  # the public layout counts a dropout here
                CausalConv3d(f"{name}.residual.6", num_out, num_out),
            ]
        )
        self.shortcut = (
            CausalConv3d(f"{name}.shortcut", num_in, num_out, (1, 1, 1))
            if num_in != num_out
            else None
        )

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Return the (projected) features plus the branch."""
        branch: Tensor = self.residual(features, past, kept)
        if self.shortcut is not None:
            features = self.shortcut(features, past, kept)
        return features + branch


class FrameAttention(nn.Module):
    """One head of self-attention among the positions of each frame, added to the input."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(num_channels, 2)
        self.to_qkv = nn.Conv2d(num_channels, 3 * num_channels, 1)
        self.proj = nn.Conv2d(num_channels, num_channels, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, features: Features) -> Features:
        """Attend within frames; time only multiplies the batch."""
        frames = fold_time(features.transpose(1, 2))
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)
        query, key, value = qkv[:, None].chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        projected = self.proj(mixed.transpose(1, 2).reshape(frames.shape))
        return features + unfold_time(projected, features.shape[2]).transpose(1, 2)


def output_head(name: str, num_in: int, num_out: int) -> StreamedLayers:
    """Return norm, SiLU and the last causal convolution of a half."""
    return StreamedLayers(
        [RMSNorm(num_in, 3), nn.SiLU(), CausalConv3d(f"{name}.2", num_in, num_out)]
    )


def middle(name: str, num_channels: int) -> StreamedLayers:
    """Return block, attention, block: the coarsest features look across the frame once."""
    return StreamedLayers(
        [
            WanResidualBlock(f"{name}.0", num_channels, num_channels),
            FrameAttention(num_channels),
            WanResidualBlock(f"{name}.2", num_channels, num_channels),
        ]
    )
