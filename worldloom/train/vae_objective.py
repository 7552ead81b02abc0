"""What the video VAE learns from: reconstruction, edges, motion, and latents that stay put.

    L1 + gradient difference + temporal difference + latent statistics (encoder only)

The decoder sees latents with gaussian noise, so that it forgives what a diffusion model gets
slightly wrong. With the encoder frozen only the decoder is trained, and latents made before stay
valid. It does not know optimisers, checkpoints or where clips are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from worldloom.config import Config
from worldloom.errors import DataError
from worldloom.frames import num_latent_frames
from worldloom.model.vae import VideoVAE

Frames = NDArray[np.uint8]
"""A clip's frames `[F, H, W, 3]`."""

PEAK = 2.0


class VAEObjectiveConfig(Config):
    """Batches and loss weights of the video VAE."""

    batch_size: int = Field(8, ge=1, description="windows a step")
    window_frames: int = Field(13, ge=5, description="frames of a window, 4n+1")
    train_encoder: bool = Field(True, description="false freezes the encoder and its latents")
    l1_weight: float = Field(1.0, ge=0, description="weight of the mean absolute error")
    l2_weight: float = Field(1.0, ge=0, description="weight of the mean squared error")
    gradient_weight: float = Field(0.5, ge=0, description="weight of the spatial difference error")
    temporal_weight: float = Field(0.25, ge=0, description="weight of the frame difference error")
    latent_weight: float = Field(
        0.01, ge=0, description="weight of the latents' distance from zero mean, unit deviation"
    )
    latent_noise: float = Field(
        0.1, ge=0, description="standard deviation of the noise the decoder sees, latent units"
    )
    evaluation_windows: int = Field(16, ge=1, description="held-out windows of an evaluation")


class VAEObjective:
    """Loss on random windows of training clips, PSNR on fixed windows of held-out ones."""

    def __init__(
        self,
        vae: VideoVAE,
        config: VAEObjectiveConfig,
        *,
        train: Sequence[Frames],
        held_out: Sequence[Frames],
    ) -> None:
        self.vae = vae
        self.config = config
        self.module: nn.Module = vae if config.train_encoder else vae.decoder
        num_latent_frames(config.window_frames)
        self._train = long_enough(train, config.window_frames)
        self._held_out = fixed_windows(
            long_enough(held_out, config.window_frames),
            config.window_frames,
            config.evaluation_windows,
        )

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of one random batch and its parts."""
        del step
        video = random_windows(
            self._train, self.config.window_frames, self.config.batch_size, generator
        )
        with torch.set_grad_enabled(self.config.train_encoder):
            latents = self.vae.encoder(video)[0].float()
        noise = torch.randn(latents.shape, generator=generator)
        decoded = self.vae.decoder(latents + self.config.latent_noise * noise)[0].float()
        parts = reconstruction_parts(decoded, video)
        weights = {
            "l1": self.config.l1_weight,
            "l2": self.config.l2_weight,
            "gradient": self.config.gradient_weight,
            "temporal": self.config.temporal_weight,
        }
        if self.config.train_encoder:
            parts["latent"] = latent_statistics_distance(latents)
            weights["latent"] = self.config.latent_weight
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        metrics = {f"vae_{name}": float(part.detach()) for name, part in parts.items()}
        return total, metrics | {"train_psnr_db": psnr_db(decoded.detach(), video)}

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return the PSNR of held-out windows in decibels."""
        decoded = torch.cat([self.vae.decode(self.vae.encode(w)) for w in self._held_out.split(4)])
        return {"held_out_psnr_db": psnr_db(decoded, self._held_out)}


def reconstruction_parts(decoded: Tensor, video: Tensor) -> dict[str, Tensor]:
    """Return the error terms between two videos `[B, 3, F, H, W]` in [-1, 1], unweighted."""
    error = decoded - video
    return {
        "l1": error.abs().mean(),
        "l2": error.square().mean(),
        "gradient": error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean(),
        "temporal": error.diff(dim=2).abs().mean(),
    }


def latent_statistics_distance(latents: Tensor) -> Tensor:
    """Return how far the channels' mean and deviation over a batch are from 0 and 1."""
    by_channel = latents.transpose(0, 1).flatten(1)
    return by_channel.mean(dim=1).square().mean() + (by_channel.std(dim=1) - 1).square().mean()


@torch.no_grad()
def measure_latent_statistics(
    vae: VideoVAE, videos: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the mean and deviation `[C]` of the raw latents of some videos."""
    scale, shift = vae.encoder.latent_std[:, None], vae.encoder.latent_mean[:, None]
    raw = torch.cat(
        [vae.encode(video).transpose(0, 1).flatten(1) * scale + shift for video in videos], dim=1
    )
    return raw.mean(dim=1), raw.std(dim=1)


def psnr_db(decoded: Tensor, video: Tensor) -> float:
    """Return the peak signal-to-noise ratio of values in [-1, 1], decibels."""
    error = (decoded.clamp(-1, 1) - video).square().mean().clamp(min=1e-12)
    return float(10 * torch.log10(PEAK**2 / error))


def to_video(frames: Frames) -> Tensor:
    """Convert `[F, H, W, 3]` or `[B, F, H, W, 3]` bytes to `[B, 3, F, H, W]` in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1
    if pixels.ndim == 4:
        pixels = pixels[None]
    return pixels.permute(0, 4, 1, 2, 3).contiguous()


def random_windows(
    clips: Sequence[Frames], num_frames: int, batch_size: int, generator: torch.Generator
) -> Tensor:
    """Draw windows `[B, 3, F, H, W]` uniformly over clips and starts, half of them mirrored."""
    windows = []
    for _ in range(batch_size):
        clip = clips[_draw(len(clips), generator)]
        start = _draw(len(clip) - num_frames + 1, generator)
        window = clip[start : start + num_frames]
        windows.append(window[:, :, ::-1] if _draw(2, generator) else window)
    return to_video(np.stack(windows))


def fixed_windows(clips: Sequence[Frames], num_frames: int, num_windows: int) -> Tensor:
    """Return windows `[N, 3, F, H, W]` spread evenly over the clips and over their lengths."""
    windows = []
    for index in range(num_windows):
        clip = clips[index * len(clips) // num_windows]
        start = (len(clip) - num_frames) * (index % 4) // 3
        windows.append(clip[start : start + num_frames])
    return to_video(np.stack(windows))


def long_enough(clips: Sequence[Frames], num_frames: int) -> list[Frames]:
    """Return the clips with at least `num_frames` frames.

    Raises:
        DataError: when there is none.
    """
    kept = [clip for clip in clips if len(clip) >= num_frames]
    if not kept:
        message = f"{len(clips)} clips, none with {num_frames} frames: expected at least one"
        raise DataError(message)
    return kept


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=generator))
