"""What the video VAE learns from: reconstruction, edges, motion, and latents that stay put.

    L1 + L2 + gradients + texture + motion + latent statistics (encoder only)

and, where asked, a discriminator that is trained beside (`discriminator`).
The decoder sees latents with gaussian noise, so that it forgives what a diffusion model gets
slightly wrong. With the encoder frozen only the decoder is trained, and latents made before stay
valid. It does not know optimisers, checkpoints or where clips are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from worldloom.config import JsonValue, resolved
from worldloom.frames import num_latent_frames
from worldloom.model.vae.video_vae import VideoVAE
from worldloom.train.discriminator import (
    PatchDiscriminator,
    balance,
    fooling_loss,
    own_loss,
)
from worldloom.train.recorded import Recorded
from worldloom.train.share import own_rows
from worldloom.train.vae_config import VAEObjectiveConfig
from worldloom.train.vae_windows import (
    Frames,
    Windows,
    draw_windows,
    fixed_windows,
    long_enough,
    to_video,
)

PEAK = 2.0
_TEXTURE_WINDOW = 8
_LEAST_CONTRAST = 0.01

Video = Float[Tensor, "B RGB F Y X"]


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
        self.discriminator: PatchDiscriminator | None = None
        if config.adversarial_weight:
            self.discriminator = PatchDiscriminator()
            self.module = nn.ModuleList([self.module, self.discriminator])
        self._reconstruct: Callable[..., tuple[Tensor, ...]] = (
            Recorded(vae, self._reconstructed)
            if config.is_recorded
            else partial(self._reconstructed, vae)
        )
        num_latent_frames(config.window_frames)
        self._train = long_enough(train, config.window_frames)
        self._held_out = fixed_windows(
            long_enough(held_out, config.window_frames),
            config.window_frames,
            config.evaluation_windows,
        )

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of one random batch and its parts."""
        return self.loss_of(self.draw(step, generator), step, generator)

    def draw(self, step: int, generator: torch.Generator) -> Windows:
        """Draw a step's windows."""
        del step
        return draw_windows(
            self._train, self.config.window_frames, self.config.batch_size, generator
        )

    def names(self, batch: Windows) -> Sequence[str]:
        """Return which training clips the windows were cut from."""
        return [f"training clip {number}" for number in batch.clip_numbers]

    def add(self, frames: Frames) -> None:
        """Learn from one more clip, from the next draw on."""
        self._train += long_enough([frames], self.config.window_frames)

    def loss_of(
        self, batch: Windows, step: int, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of the windows and its parts."""
        device = self._device()
        own = own_rows(len(batch.frames))
        video = to_video(batch.frames[own].to(device))
        noise = torch.randn(self._latent_shape(batch.frames), generator=generator)[own].to(device)
        decoded, latents = self._reconstruct(video, noise)
        parts = reconstruction_parts(decoded, video)
        weights = {
            "l1": self.config.l1_weight,
            "l2": self.config.l2_weight,
            "gradient": self.config.gradient_weight,
            "texture": self.config.texture_weight,
            "temporal": self.config.temporal_weight,
        }
        if self.config.train_encoder:
            parts["latent"] = latent_statistics_distance(latents)
            weights["latent"] = self.config.latent_weight
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        if self.discriminator is not None:
            chosen = torch.randperm(video.shape[2], generator=generator)
            chosen = chosen[: self.config.adversarial_frames].to(device)
            total, told = self._against(self.discriminator, total, decoded, video, chosen, step)
            parts |= told
        metrics = {f"vae_{name}": float(part.detach()) for name, part in parts.items()}
        return total, metrics | {"train_psnr_db": psnr_db(decoded.detach(), video)}

    def _reconstructed(self, vae: VideoVAE, video: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return decoded windows, and their latents [B, C, T, H, W]; the decoder sees noise too."""
        with torch.set_grad_enabled(self.config.train_encoder):
            latents: Tensor = vae.encoder(video)[0].float()
        decoded: Tensor = vae.decoder(latents + self.config.latent_noise * noise)[0].float()
        return decoded, latents

    def _latent_shape(self, frames: Tensor) -> tuple[int, ...]:
        """Return [B, C, T, H, W] of the latents of windows [B, F, H, W, 3]."""
        shape, (count, num_frames, height, width) = self.vae.config, frames.shape[:4]
        stride = shape.spatial_stride
        latents = num_latent_frames(num_frames)
        return count, shape.latent_channels, latents, height // stride, width // stride

    def _against(
        self,
        discriminator: PatchDiscriminator,
        distance: Tensor,
        decoded: Video,
        video: Video,
        chosen: Int[Tensor, " N"],
        step: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss with a discriminator's on chosen frames, and that one's parts."""
        shown, recorded = (
            frames.index_select(2, chosen).transpose(1, 2).flatten(0, 1)
            for frames in (decoded, video)
        )
        learnt = own_loss(discriminator, shown, recorded)
        told = {"discriminator": learnt}
        if step < self.config.adversarial_from_step:
            return distance + learnt, told
        fooling = fooling_loss(discriminator, shown)
        weight = self.config.adversarial_weight * balance(distance, fooling, decoded)
        return distance + learnt + weight * fooling, {**told, "fooling": fooling}

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return the PSNR of held-out windows in decibels."""
        device = self._device()
        decoded = [
            self.vae.decode(self.vae.encode(w.to(device))) for w in torch.split(self._held_out, 4)
        ]
        return {"psnr_db": psnr_db(torch.cat(decoded).cpu(), self._held_out)}

    def settings(self) -> Mapping[str, JsonValue]:
        """Return the objective's settings and the size of its training set."""
        what = {name: v for name, v in resolved(self.config).items() if name != "is_recorded"}
        return {"vae": what, "num_clips": len(self._train)}

    @property
    def samples_per_step(self) -> int:
        """Windows of a step, over all processes."""
        return self.config.batch_size

    @property
    def flops_per_step(self) -> float:
        """Not counted."""
        return 0.0

    def _device(self) -> torch.device:
        """Return where the learner put the module; the frozen half is moved there too."""
        device = next(self.module.parameters()).device
        self.vae.to(device)
        return device


def reconstruction_parts(decoded: Tensor, video: Tensor) -> dict[str, Tensor]:
    """Return the error terms between two videos `[B, 3, F, H, W]` in [-1, 1], unweighted."""
    error = decoded - video
    return {
        "l1": error.abs().mean(),
        "l2": error.square().mean(),
        "gradient": error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean(),
        "texture": texture_error(decoded, video),
        "temporal": error.diff(dim=2).abs().mean(),
    }


def texture_error(decoded: Video, video: Video) -> Tensor:
    """Return how far the contrast of neighbouring pixels is from the recording's.

    Contrast is the root mean square of differences across and down over windows of eight pixels.
    Detail that latents cannot hold is best left out by every other term, which leaves a blur; this
    one asks for as much of it as there was, wherever in the window it stands.
    """
    parts = [(_contrast(decoded, axis) - _contrast(video, axis)).abs().mean() for axis in (-1, -2)]
    return torch.stack(parts).sum()


def _contrast(video: Video, axis: int) -> Tensor:
    square = video.diff(dim=axis).square().transpose(1, 2).flatten(0, 1)
    window = min(_TEXTURE_WINDOW, *square.shape[-2:])
    pooled = functional.avg_pool2d(square, window, max(1, window // 2))
    return (pooled + _LEAST_CONTRAST**2).sqrt()


def latent_statistics_distance(latents: Tensor) -> Tensor:
    """Return how far the channels' mean and deviation over a batch are from 0 and 1."""
    by_channel = latents.transpose(0, 1).flatten(1)
    return by_channel.mean(dim=1).square().mean() + (by_channel.std(dim=1) - 1).square().mean()


@torch.no_grad()
def measure_latent_statistics(vae: VideoVAE, videos: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
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
