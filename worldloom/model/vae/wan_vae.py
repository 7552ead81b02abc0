"""The causal video VAE of Wan2.2: 4 frames of 16 x 16 pixels become one latent vector of 48.

Frame 0 becomes latent 0 alone: F = 1 + 4 (T - 1). Both halves stream: called in chunks with the
cache that the previous call returned, they answer exactly what they answer at once. Each stands
alone with its own pointwise convolution and the statistics that give latents unit deviation per
channel; those come from the configuration and are no weights. The halves answer like those of
`video_vae.VideoVAE`, so that either VAE serves. It does not know files, nor how a VAE is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.frames import TEMPORAL_STRIDE, num_latent_frames
from worldloom.model.vae.causal_conv import FeatureCache
from worldloom.model.vae.vae_coder import CoderCache
from worldloom.model.vae.wan_vae_config import RGB, WanVAEConfig
from worldloom.model.vae.wan_vae_layers import CausalConv3d, StreamedLayers, middle, output_head
from worldloom.model.vae.wan_vae_stages import DownStage, UpStage

Video = Float[Tensor, "B RGB F Y X"]
Latents = Float[Tensor, "B C T H W"]


class _Half(nn.Module):
    """The configuration and the statistics of its latents, which both halves hold."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("latent_mean", None, persistent=False)
        self.register_buffer("latent_std", None, persistent=False)
        self.reset_statistics()

    def reset_statistics(self) -> None:
        """Take the latents' statistics from the configuration, on the default device."""
        self.latent_mean = torch.tensor(self.config.latent_mean)[:, None, None, None]
        self.latent_std = torch.tensor(self.config.latent_std)[:, None, None, None]

    def lay_channels_last(self) -> None:
        """Lay the convolutions' weights out as a GPU reads them fastest; no value changes."""
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in self.parameters():
            if parameter.ndim in formats:
                parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


class WanVAEEncoder(_Half):
    """Pixels to normalised latents."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__(config)
        widths = config.encoder_widths
        doubled = 2 * config.latent_channels
        self.conv1 = CausalConv3d("encoder.conv1", config.patch_channels, widths[0])
        self.downsamples = StreamedLayers(
            (
                DownStage(
                    f"encoder.downsamples.{index}",
                    stage_widths,
                    config.encoder_blocks,
                    halves_time=halves_time,
                )
                for index, (stage_widths, halves_time) in enumerate(
                    zip(pairwise(widths), (*config.temporal_downsample, None), strict=True)
                )
            )
        )
        self.middle = middle("encoder.middle", widths[-1])
        self.head = output_head("encoder.head", widths[-1], doubled)
        self.to_latent = CausalConv3d("encoder.to_latent", doubled, doubled, (1, 1, 1))

    def forward(self, video: Video, cache: CoderCache | None = None) -> tuple[Latents, CoderCache]:
        """Encode `[B, 3, F, 16 H, 16 W]` in [-1, 1] to the normalised mean of the latents.

        Args:
            video: 4n+1 frames from frame 0 on, or 4n frames when `cache` is given.
            cache: what the previous call returned; None at frame 0.

        Raises:
            ValueError: for a video of another shape, before anything is computed.
        """
        check_video(self.config, video, is_first=cache is None)
        past = None if cache is None else cache.features
        kept: FeatureCache = {}
        video = video.to(self.conv1.weight.dtype)
        features = self.conv1(fold_pixels(video, self.config.pixel_patch), past, kept)
        features = self.downsamples(features, past, kept)
        features = self.head(self.middle(features, past, kept), past, kept)
        mean = self.to_latent(features, past, kept)[:, : self.config.latent_channels]
        return (mean - self.latent_mean) / self.latent_std, CoderCache(kept)


class WanVAEDecoder(_Half):
    """Normalised latents to pixels."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__(config)
        widths = config.decoder_widths
        channels = config.latent_channels
        self.from_latent = CausalConv3d("decoder.from_latent", channels, channels, (1, 1, 1))
        self.conv1 = CausalConv3d("decoder.conv1", channels, widths[0])
        self.middle = middle("decoder.middle", widths[0])
        self.upsamples = StreamedLayers(
            (
                UpStage(
                    f"decoder.upsamples.{index}",
                    stage_widths,
                    config.decoder_blocks,
                    doubles_time=doubles_time,
                )
                for index, (stage_widths, doubles_time) in enumerate(
                    zip(pairwise(widths), (*config.temporal_downsample[::-1], None), strict=True)
                )
            )
        )
        self.head = output_head("decoder.head", widths[-1], config.patch_channels)

    @property
    def num_past_latents(self) -> int:
        """How many latents before its own a frame depends on.

        Decoding that many before a latent leaves the cache that decoding all of them leaves.
        """
        doubles = (*self.config.temporal_downsample[::-1], None)
        frames, rate = Fraction(_past_frames(self.conv1) + _past_frames(self.middle)), 1
        for stage, doubles_time in zip(self.upsamples, doubles, strict=True):
            frames += Fraction(_past_frames(stage), rate)
            rate *= 2 if doubles_time else 1
        return math.ceil(frames + Fraction(_past_frames(self.head), rate))

    def forward(
        self, latents: Latents, cache: CoderCache | None = None
    ) -> tuple[Video, CoderCache]:
        """Decode `[B, C, T, H, W]` to `[B, 3, F, 16 H, 16 W]`, not clamped.

        Args:
            latents: normalised latents; without `cache` the first yields one frame, others four.
            cache: what the previous call returned; None at latent 0.

        Raises:
            ValueError: for latents of another shape, before anything is computed.
        """
        video, kept, _ = self._decode(latents, cache)
        return video, kept

    def decode_with_features(
        self, latents: Latents
    ) -> tuple[Video, list[Float[Tensor, "B _ _ _ _"]]]:
        """Decode from latent 0 on; return what enters and leaves the stages too.

        The features are `[B, T', C', H', W']`, each at its stage's own rate.
        """
        video, _, features = self._decode(latents, None)
        return video, features

    def _decode(
        self, latents: Tensor, cache: CoderCache | None
    ) -> tuple[Tensor, CoderCache, list[Tensor]]:
        check_latents(self.config, latents)
        past = None if cache is None else cache.features
        kept: FeatureCache = {}
        raw = (latents * self.latent_std + self.latent_mean).to(self.conv1.weight.dtype)
        features = self.conv1(self.from_latent(raw, past, kept), past, kept)
        features = self.middle(features, past, kept)
        of_stages = [features.transpose(1, 2)]
        for stage in self.upsamples:
            features = stage(features, past, kept)
            of_stages.append(features.transpose(1, 2))
        video = unfold_pixels(self.head(features, past, kept), self.config.pixel_patch)
        return video, CoderCache(kept), of_stages


class WanVAE(nn.Module):
    """Encoder and decoder with one latent normalisation."""

    def __init__(self, encoder: WanVAEEncoder, decoder: WanVAEDecoder) -> None:
        """Join two halves; the decoder may lack channels, nothing else may differ."""
        super().__init__()
        update = {"decoder_removed": encoder.config.decoder_removed}
        if decoder.config.model_copy(update=update) != encoder.config:
            message = f"decoder {decoder.config}: expected the encoder's {encoder.config}"
            raise ValueError(message)
        self.config = decoder.config
        self.encoder = encoder
        self.decoder = decoder

    @classmethod
    def from_config(cls, config: WanVAEConfig) -> WanVAE:
        """Return a VAE with random weights."""
        return cls(WanVAEEncoder(config), WanVAEDecoder(config))

    def encode(self, video: Video, *, chunk_latents: int | None = None) -> Latents:
        """Encode 4n+1 frames in [-1, 1] to normalised latents.

        Args:
            video: frames from frame 0 on.
            chunk_latents: latents at a time, to bound memory; the answer is the same.
        """
        num_latents = num_latent_frames(video.shape[2])
        return _in_chunks(self.encoder, video, num_latents, chunk_latents, TEMPORAL_STRIDE)

    def decode(self, latents: Latents, *, chunk_latents: int | None = None) -> Video:
        """Decode latents to 4 (T - 1) + 1 frames in [-1, 1]; `chunk_latents` as in `encode`."""
        num_latents = latents.shape[2]
        return _in_chunks(self.decoder, latents, num_latents, chunk_latents, 1).clamp(-1, 1)


def _past_frames(module: nn.Module) -> int:
    """Return how many frames before its own a chain of causal convolutions looks back on."""
    return sum(conv.num_past for conv in module.modules() if isinstance(conv, CausalConv3d))


def fold_pixels(video: Video, patch: int) -> Float[Tensor, "B D F H W"]:
    """Fold squares of pixels into channels: colour, then column, then row of the square."""
    squares = video.unflatten(3, (-1, patch)).unflatten(5, (-1, patch))
    folded: Tensor = squares.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)
    return folded


def unfold_pixels(features: Float[Tensor, "B D F H W"], patch: int) -> Video:
    """Undo `fold_pixels`."""
    squares = features.unflatten(1, (-1, patch, patch))
    video: Tensor = squares.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)
    return video


def check_video(config: WanVAEConfig, video: Video, *, is_first: bool) -> None:
    """Refuse a video that the encoder cannot take whole.

    Raises:
        ValueError: saying the shape and what was expected.
    """
    _, colours, num_frames, height, width = video.shape
    edge = config.pixel_multiple
    lone = 1 if is_first else 0
    complete = num_frames >= 1 and num_frames % TEMPORAL_STRIDE == lone
    if colours != RGB or height % edge or width % edge or not height * width or not complete:
        frames = "4n+1 (from frame 0 on)" if is_first else "4n (after frame 0)"
        message = (
            f"video {tuple(video.shape)}: expected [B, {RGB}, F, height, width] with "
            f"F = {frames}, height and width multiples of {edge} pixels"
        )
        raise ValueError(message)


def check_latents(config: WanVAEConfig, latents: Latents) -> None:
    """Refuse latents that the decoder cannot take.

    Raises:
        ValueError: saying the shape and what was expected.
    """
    _, channels, num_latents, height, width = latents.shape
    edge = config.pixel_multiple // config.spatial_stride
    fits = channels == config.latent_channels and not (height % edge or width % edge)
    if not fits or not num_latents * height * width:
        message = (
            f"latents {tuple(latents.shape)}: expected [B, {config.latent_channels}, T, H, W] with "
            f"T at least 1, H and W multiples of {edge} ({config.pixel_multiple} pixels)"
        )
        raise ValueError(message)


def _in_chunks(
    half: Callable[[Tensor, CoderCache | None], tuple[Tensor, CoderCache]],
    stream: Tensor,
    num_latents: int,
    chunk_latents: int | None,
    per_latent: int,
) -> Tensor:
    """Run a half over `stream`, whose latent 0 is one frame and each other `per_latent`."""
    if chunk_latents is None:
        return half(stream, None)[0]
    if chunk_latents < 1:
        message = f"chunk_latents={chunk_latents}: expected at least 1"
        raise ValueError(message)
    cache: CoderCache | None = None
    chunks = []
    start = 0
    for latent in range(0, num_latents, chunk_latents):
        stop = 1 + per_latent * (min(latent + chunk_latents, num_latents) - 1)
        chunk, cache = half(stream[:, :, start:stop], cache)
        chunks.append(chunk)
        start = stop
    return torch.cat(chunks, dim=2)
