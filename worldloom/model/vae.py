"""The causal video VAE: 4 frames of 8x8 pixels become one latent vector, frame 0 stands alone.

Frame 0 is repeated four times, so every latent is made of four frames, and the first latent
decodes to its last frame only: F = 1 + 4 (T - 1). By default the encoder looks at a latent's own
frames alone, so that a latent means the same wherever it stands in a stream; the decoder looks back. Encoder and decoder are each a linear shortcut
over whole patches (4 x 8 x 8 x 3 values, started by PCA: see `vae_init`) plus a convolutional
branch whose output starts at zero; the shortcut plays the part of Wan2.2's AvgDown and DupUp.
Features stay at latent rate; a frame's detail lives in channels until the last pixel shuffle.
Latents leave the encoder with unit standard deviation per channel by stored buffers; there is no
sampling. It does not know the diffusion model, nor how it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from worldloom.config import load_config
from worldloom.errors import ArtifactError
from worldloom.frames import TEMPORAL_STRIDE, num_latent_frames
from worldloom.model.causal_conv import (
    CausalConv,
    ChannelNorm,
    FeatureCache,
    ResidualBlock,
    fold_time,
    unfold_time,
    zero_init,
)
from worldloom.model.vae_config import GROUP_CHANNELS, RGB, VAEConfig

__all__ = ["CoderCache", "DecoderCache", "EncoderCache", "VAEConfig", "VAEDecoder", "VAEEncoder"]
__all__ += ["VideoVAE", "group_frames", "load_vae", "load_weights", "save_vae", "ungroup_frames"]

CONFIG_FILE = "vae.json"
WEIGHTS_FILE = "vae.safetensors"


@dataclass(frozen=True)
class CoderCache:
    """What a stream leaves for its next chunk; its presence says that frame 0 is past."""

    features: FeatureCache


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
        self.conv_in = CausalConv(
            "encoder.conv_in", GROUP_CHANNELS * self.patch**2, widths[0], 1
        )
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
            nn.Conv2d(4 * fine, coarse, 1)
            for fine, coarse in zip(widths, widths[1:], strict=False)
        )
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv("encoder.conv_out", widths[-1], config.latent_channels, 1)
        zero_init(self.conv_out.conv)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def forward(
        self, video: Tensor, cache: EncoderCache | None = None
    ) -> tuple[Tensor, EncoderCache]:
        """Encode `[B, 3, F, H, W]` in [-1, 1] to `[B, C, T, h, w]`.

        Args:
            video: 4n+1 frames from frame 0 on, or 4n frames when `cache` is given.
            cache: what the previous call returned; None at frame 0.
        """
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
            nn.Conv2d(coarse, 4 * fine, 1)
            for coarse, fine in zip(widths, widths[1:], strict=False)
        )
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv(
            "decoder.conv_out", widths[-1], GROUP_CHANNELS * self.patch**2, 1
        )
        zero_init(self.conv_out.conv)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def forward(
        self, latents: Tensor, cache: DecoderCache | None = None
    ) -> tuple[Tensor, DecoderCache]:
        """Decode `[B, C, T, h, w]` to `[B, 3, F, H, W]`, not clamped.

        Args:
            latents: normalised latents; without `cache` the first yields one frame, others four.
            cache: what the previous call returned; None at latent 0.
        """
        video, kept, _ = self._decode(latents, cache)
        return video, kept

    def decode_with_features(self, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
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
        by_time = latents.transpose(1, 2)
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


class VideoVAE(nn.Module):
    """Encoder and decoder with one latent normalisation."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VAEEncoder(config)
        self.decoder = VAEDecoder(config)

    def encode(self, video: Tensor) -> Tensor:
        """Encode 4n+1 frames `[B, 3, F, H, W]` in [-1, 1] to latents `[B, C, T, h, w]`."""
        num_latent_frames(video.shape[2])
        latents: Tensor = self.encoder(video)[0]
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents `[B, C, T, h, w]` to 4 (T - 1) + 1 frames in [-1, 1]."""
        video: Tensor = self.decoder(latents)[0]
        return video.clamp(-1, 1)

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store the raw latents' mean and standard deviation `[C]` that normalise them."""
        for half in (self.encoder, self.decoder):
            half.latent_mean.copy_(mean)
            half.latent_std.copy_(std)


def group_frames(video: Tensor, *, is_first: bool) -> Tensor:
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


def ungroup_frames(groups: Tensor, *, is_first: bool) -> Tensor:
    """Undo `group_frames`: the first group yields its last frame only when `is_first`."""
    frames = groups.unflatten(2, (TEMPORAL_STRIDE, RGB)).permute(0, 3, 1, 2, 4, 5).flatten(2, 3)
    return frames[:, :, TEMPORAL_STRIDE - 1 :] if is_first else frames


def save_vae(folder: Path, vae: VideoVAE, *, dtype: torch.dtype = torch.float16) -> None:
    """Write `vae.json` and `vae.safetensors` into an existing folder."""
    folder.joinpath(CONFIG_FILE).write_text(vae.config.model_dump_json() + "\n")
    state = {name: value.to(dtype).contiguous() for name, value in vae.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE)


def load_vae(folder: Path) -> VideoVAE:
    """Read a VAE that `save_vae` wrote, as float32 on the CPU, in evaluation mode.

    Raises:
        ArtifactError: when a file is missing or its tensors do not fit the configuration.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not folder.joinpath(name).is_file():
            message = f"{folder / name}: missing, expected a VAE written by save_vae"
            raise ArtifactError(message)
    config = load_config(VAEConfig, folder.joinpath(CONFIG_FILE).read_text(), where=CONFIG_FILE)
    vae = VideoVAE(config)
    load_weights(vae, folder / WEIGHTS_FILE)
    return vae.eval()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module whose tensors it must match exactly.

    Raises:
        ArtifactError: naming the first tensor that is missing, unknown or of another shape.
    """
    state = load_file(path)
    expected = module.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        if name not in state or name not in expected:
            message = f"{path}: tensor {name!r} is {'missing' if name in expected else 'unknown'}"
            raise ArtifactError(message)
        if state[name].shape != expected[name].shape:
            message = (
                f"{path}: tensor {name!r} has shape {tuple(state[name].shape)}, "
                f"expected {tuple(expected[name].shape)}"
            )
            raise ArtifactError(message)
    module.load_state_dict({name: value.float() for name, value in state.items()})


def _stage(name: str, width: int, num_blocks: int, kernel: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(f"{name}.{i}", width, kernel) for i in range(num_blocks))


def _children(stage: nn.Module) -> list[nn.Module]:
    return list(stage.children())


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None, None]
