"""Stages of the Wan2.2 VAE: residual blocks, a change of resolution, and a shortcut around both.

The shortcuts have no weights: `average_down` folds 2 x 2 positions (and 2 frames) into channels
and averages groups of them, `duplicate_up` is its mirror. Frame 0 stands alone: going down it is
the second of a pair whose first is silence, going up it stays one frame. It does not know what is
before or behind the stages.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from worldloom.model.vae.causal_conv import FeatureCache, fold_time, unfold_time
from worldloom.model.vae.wan_vae_layers import (
    CausalConv3d,
    Features,
    Outputs,
    Past,
    Streamed,
    StreamedLayers,
    WanResidualBlock,
)

TIME_KERNEL = (3, 1, 1)


class HalveResolution(Streamed):
    """Half the rows and columns, and half the frames behind frame 0 where `halves_time`."""

    def __init__(self, name: str, num_channels: int, *, halves_time: bool) -> None:
        super().__init__()
        self.name = name
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(num_channels, num_channels, 3, stride=2)
        )
        self.time_conv = (
            CausalConv3d(
                f"{name}.time_conv", num_channels, num_channels, TIME_KERNEL, temporal_stride=2
            )
            if halves_time
            else None
        )

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Return `[B, C, T', H/2, W/2]`; the frame before a chunk is all that time needs."""
        features = _per_frame(self.resample, features)
        if self.time_conv is None:
            return features
        kept[self.name] = features[:, :, -1:].clone()
        if past is not None:
            before = past[self.name].to(features.dtype)
            return self.time_conv.convolve(torch.cat([before, features], dim=2))
        if features.shape[2] == 1:
            return features
        return torch.cat([features[:, :, :1], self.time_conv.convolve(features)], dim=2)


class DoubleResolution(Streamed):
    """Twice the rows and columns, and twice the frames behind frame 0 where `doubles_time`."""

    def __init__(self, name: str, num_channels: int, *, doubles_time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest-exact"),
            nn.Conv2d(num_channels, num_channels, 3, padding=1),
        )
        self.time_conv = (
            CausalConv3d(f"{name}.time_conv", num_channels, 2 * num_channels, TIME_KERNEL)
            if doubles_time
            else None
        )

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Return `[B, C, T', 2H, 2W]`; frame 0 is not doubled, and frame 1 sees silence."""
        if self.time_conv is not None:
            features = self._double_time(self.time_conv, features, past, kept)
        return _per_frame(self.resample, features)

    @staticmethod
    def _double_time(
        time_conv: CausalConv3d, features: Tensor, past: Past | None, kept: FeatureCache
    ) -> Tensor:
        if past is not None:
            return _halves_in_turn(time_conv(features, past, kept))
        first, rest = features[:, :, :1], features[:, :, 1:]
        if not rest.shape[2]:
            time_conv.keep_silence(first, kept)
            return first
        return torch.cat([first, _halves_in_turn(time_conv(rest, None, kept))], dim=2)


class DownStage(Streamed):
    """Residual blocks, then half the resolution (but for the coarsest stage)."""

    def __init__(
        self, name: str, widths: tuple[int, int], num_blocks: int, *, halves_time: bool | None
    ) -> None:
        """Make a stage of `widths` (in, out); `halves_time` is None where nothing is halved."""
        super().__init__()
        name = f"{name}.downsamples"
        self.downsamples = StreamedLayers(_blocks(name, widths, num_blocks))
        if halves_time is not None:
            self.downsamples.append(
                HalveResolution(f"{name}.{num_blocks}", widths[1], halves_time=halves_time)
            )
        self._num_out = widths[1]
        self._factors = (1 if not halves_time else 2, 1 if halves_time is None else 2)

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Return the stage's branch plus the averaged input."""
        branch: Tensor = self.downsamples(features, past, kept)
        return branch + average_down(features, self._num_out, *self._factors)


class UpStage(Streamed):
    """Residual blocks, then twice the resolution (but for the finest stage)."""

    def __init__(
        self, name: str, widths: tuple[int, int], num_blocks: int, *, doubles_time: bool | None
    ) -> None:
        """Make a stage of `widths` (in, out); `doubles_time` is None where nothing is doubled."""
        super().__init__()
        name = f"{name}.upsamples"
        self.upsamples = StreamedLayers(_blocks(name, widths, num_blocks))
        if doubles_time is not None:
            self.upsamples.append(
                DoubleResolution(f"{name}.{num_blocks}", widths[1], doubles_time=doubles_time)
            )
        self._num_out = widths[1]
        self._doubles_time = doubles_time

    def forward(self, features: Features, past: Past | None, kept: FeatureCache) -> Outputs:
        """Return the stage's branch, plus the duplicated input where the resolution changes."""
        branch: Tensor = self.upsamples(features, past, kept)
        if self._doubles_time is None:
            return branch
        factor_time = 2 if self._doubles_time else 1
        shortcut = duplicate_up(features, self._num_out, factor_time, 2)
        return branch + (shortcut[:, :, factor_time - 1 :] if past is None else shortcut)


def average_down(
    features: Features, num_out: int, factor_time: int, factor_space: int
) -> Float[Tensor, "B D S Y X"]:
    """Fold blocks of positions into channels and average groups of them to `num_out`.

    Frames that do not fill their last block are led by silence (AvgDown3D of Wan2.2).
    """
    features = functional.pad(features, (0, 0, 0, 0, -features.shape[2] % factor_time, 0))
    blocks = (
        features.unflatten(2, (-1, factor_time))
        .unflatten(4, (-1, factor_space))
        .unflatten(6, (-1, factor_space))
    )
    folded = blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    averaged: Tensor = folded.unflatten(1, (num_out, -1)).mean(dim=2)
    return averaged


def duplicate_up(
    features: Features, num_out: int, factor_time: int, factor_space: int
) -> Float[Tensor, "B D S Y X"]:
    """Repeat channels and unfold them to `num_out` channels over finer positions.

    Output channel o is made of the input channels n o .. n o + n - 1, n being how many times
    more there are (DupUp3D of Wan2.2).
    """
    factor = factor_time * factor_space**2
    repeated = features.repeat_interleave(num_out * factor // features.shape[1], dim=1)
    blocks = repeated.unflatten(1, (num_out, factor_time, factor_space, factor_space))
    finer: Tensor = blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5)
    return finer.flatten(2, 3)


def _blocks(name: str, widths: tuple[int, int], num_blocks: int) -> list[nn.Module]:
    width, num_out = widths
    return [
        WanResidualBlock(f"{name}.{index}", num_out if index else width, num_out)
        for index in range(num_blocks)
    ]


def _per_frame(layer: nn.Module, features: Tensor) -> Tensor:
    """Apply a layer over `[B T, C, H, W]` to `[B, C, T, H, W]`."""
    frames = layer(fold_time(features.transpose(1, 2)))
    return unfold_time(frames, features.shape[2]).transpose(1, 2)


def _halves_in_turn(features: Tensor) -> Tensor:
    """Let the halves of the channels `[B, 2C, T, H, W]` be frames in turn `[B, C, 2T, H, W]`."""
    pairs: Tensor = features.unflatten(1, (2, -1)).permute(0, 2, 3, 1, 4, 5)
    return pairs.flatten(2, 3)
