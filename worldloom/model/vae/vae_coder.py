"""The two halves of the causal video VAE: pixels to latents, and latents to pixels.

Each is a linear shortcut over whole patches plus a convolutional branch whose output starts at
zero. Features stay at latent rate: a group of four frames lives in channels until the last pixel
shuffle. It does not know files, nor how the halves are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from worldloom.frames import TEMPORAL_STRIDE
from worldloom.model.vae.causal_conv import (
    CausalConv,
    ChannelNorm,
    FeatureCache,
    ResidualBlock,
    fold_time,
    unfold_time,
    zero_init,
)
from worldloom.model.vae.vae_config import GROUP_CHANNELS, RGB, VAEConfig


@dataclass(frozen=True)
class CoderCache:
    """What a stream leaves for its next chunk; its presence says that frame 0 is past."""

    features: FeatureCache


Video = Float[Tensor, "B RGB F Y X"]
Latents = Float[Tensor, "B C T H W"]
DecoderCache = CoderCache
EncoderCache = CoderCache


class VAEEncoder(nn.Module):
    """Pixels to normalised latents."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.encoder_widths
        self.patch = config.spatial_stride // 2 ** (len(widths) - 1)
        self.shortcut = nn.Conv2d(config.patch_values, config.latent_channels, 1)
        self.conv_in = CausalConv("encoder.conv_in", GROUP_CHANNELS * self.patch**2, widths[0], 1)
        self.stages = nn.ModuleList(
            _stage(
                f"encoder.{i}",
                width,
                config.encoder_blocks,
                config.encoder_temporal_kernel if i == len(widths) - 1 else 1,
            )
            for i, width in enumerate(widths)
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in pairwise(widths)
        )
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv("encoder.conv_out", widths[-1], config.latent_channels, 1)
        zero_init(self.conv_out.conv)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def forward(
        self, video: Video, cache: EncoderCache | None = None
    ) -> tuple[Latents, EncoderCache]:
        """Encode `[B, 3, F, H, W]` in [-1, 1] to `[B, C, T, h, w]`.

        Args:
            video: 4n+1 frames from frame 0 on, or 4n frames when `cache` is given.
            cache: what the previous call returned; None at frame 0.
        """
        video = video.to(self.shortcut.weight.dtype)
        groups = group_frames(video, is_first=cache is None)
        past = None if cache is None else cache.features
        kept: FeatureCache = {}
        num_groups = groups.shape[1]
        folded = fold_time(groups)
        linear = self.shortcut(functional.pixel_unshuffle(folded, self.config.spatial_stride))
        features = unfold_time(functional.pixel_unshuffle(folded, self.patch), num_groups)
        features = self.conv_in(features, past, kept)
        for index, stage in enumerate(self.stages):
            if index:
                halved = functional.pixel_unshuffle(fold_time(features), 2)
                features = unfold_time(self.downs[index - 1](halved), num_groups)
            for block in _children(stage):
                features = block(features, past, kept)
        branch = self.conv_out(functional.silu(self.norm_out(features)), past, kept)
        latents = (unfold_time(linear, num_groups) + branch).transpose(1, 2)
        latents = (latents - _per_channel(self.latent_mean)) / _per_channel(self.latent_std)
        return latents, CoderCache(kept)


class VAEDecoder(nn.Module):
    """Normalised latents to pixels."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.decoder_widths
        self.patch = config.spatial_stride // 2 ** (len(widths) - 1)
        self.shortcut = nn.Conv2d(config.latent_channels, config.patch_values, 1)
        self.conv_in = CausalConv(
            "decoder.conv_in", config.latent_channels, widths[0], config.decoder_temporal_kernel
        )
        self.stages = nn.ModuleList(
            _stage(
                f"decoder.{i}",
                width,
                config.decoder_blocks,
                config.decoder_temporal_kernel if i == 0 else 1,
            )
            for i, width in enumerate(widths)
        )
        self.ups = nn.ModuleList(
            nn.Conv2d(coarse, 4 * fine, 1) for coarse, fine in pairwise(widths)
        )
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv(
            "decoder.conv_out", widths[-1], GROUP_CHANNELS * self.patch**2, 1
        )
        zero_init(self.conv_out.conv)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    @property
    def num_past_latents(self) -> int:
        """How many latents before its own a frame depends on.

        Decoding that many before a latent leaves the cache that decoding all of them leaves.
        """
        return sum(conv.num_past for conv in self.modules() if isinstance(conv, CausalConv))

    def forward(
        self, latents: Latents, cache: DecoderCache | None = None
    ) -> tuple[Video, DecoderCache]:
        """Decode `[B, C, T, h, w]` to `[B, 3, F, H, W]`, not clamped.

        Args:
            latents: normalised latents; without `cache` the first yields one frame, others four.
            cache: what the previous call returned; None at latent 0.
        """
        video, kept, _ = self._decode(latents, cache)
        return video, kept

    def decode_with_features(
        self, latents: Latents
    ) -> tuple[Video, list[Float[Tensor, "B T _ _ _"]]]:
        """Decode from latent 0 on and return each stage's features `[B, T, C, H, W]` too."""
        video, _, features = self._decode(latents, None)
        return video, features

    def _decode(
        self, latents: Tensor, cache: DecoderCache | None
    ) -> tuple[Tensor, DecoderCache, list[Tensor]]:
        past = None if cache is None else cache.features
        kept: FeatureCache = {}
        num_groups = latents.shape[2]
        latents = latents * _per_channel(self.latent_std) + _per_channel(self.latent_mean)
        by_time = latents.transpose(1, 2).to(self.shortcut.weight.dtype)
        linear = functional.pixel_shuffle(
            self.shortcut(fold_time(by_time)), self.config.spatial_stride
        )
        features = self.conv_in(by_time, past, kept)
        of_stages: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            if index:
                doubled = functional.pixel_shuffle(self.ups[index - 1](fold_time(features)), 2)
                features = unfold_time(doubled, num_groups)
            for block in _children(stage):
                features = block(features, past, kept)
            of_stages.append(features)
        branch = self.conv_out(functional.silu(self.norm_out(features)), past, kept)
        detail = functional.pixel_shuffle(fold_time(branch), self.patch)
        groups = unfold_time(linear + detail, num_groups)
        return ungroup_frames(groups, is_first=cache is None), CoderCache(kept), of_stages


def group_frames(video: Video, *, is_first: bool) -> Float[Tensor, "B T D Y X"]:
    """Reshape `[B, 3, F, H, W]` to groups of four frames `[B, T, 4 * 3, H, W]`.

    Args:
        video: frames; from frame 0 on (4n+1 of them) when `is_first`, else 4n.
        is_first: whether frame 0 leads; it is repeated to fill its group.
    """
    num_lone = 1 if is_first else 0
    if (video.shape[2] - num_lone) % TEMPORAL_STRIDE or video.shape[2] < 1:
        message = f"{video.shape[2]} frames: expected 4n{'+1' if is_first else ''}"
        raise ValueError(message)
    if is_first:
        lead = video[:, :, :1].expand(-1, -1, TEMPORAL_STRIDE - 1, -1, -1)
        video = torch.cat([lead, video], dim=2)
    batch, channels, num_frames, height, width = video.shape
    num_groups = num_frames // TEMPORAL_STRIDE
    groups = video.reshape(batch, channels, num_groups, TEMPORAL_STRIDE, height, width)
    return groups.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


def ungroup_frames(groups: Float[Tensor, "B T D Y X"], *, is_first: bool) -> Video:
    """Undo `group_frames`: the first group yields its last frame only when `is_first`."""
    batch, num_groups, _, height, width = groups.shape
    split = groups.reshape(batch, num_groups, TEMPORAL_STRIDE, RGB, height, width)
    by_colour = split.permute(0, 3, 1, 2, 4, 5)
    frames = by_colour.flatten(2, 3)
    return frames[:, :, TEMPORAL_STRIDE - 1 :] if is_first else frames


def _stage(name: str, width: int, num_blocks: int, kernel: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(f"{name}.{i}", width, kernel) for i in range(num_blocks))


def _children(stage: nn.Module) -> list[nn.Module]:
    return list(stage.children())


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None, None]
