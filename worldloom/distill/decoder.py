"""A pruned VAE decoder learns to answer what the full decoder answers.

    L1 + gradient difference + temporal difference + feature matching on the kept channels

The target is the full decoder's output, not the video: its quality is the goal, and both see the
same noisy latents. The student starts as a slice of the teacher, so a feature of the one has its
counterpart in the other; matching them is our perceptual distance, with nothing to download. Either
VAE serves, the small one and Wan2.2's. It does not know optimisers, checkpoints or where clips are
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from worldloom.diffusion.from_host import to_device
from worldloom.distill.decoder_config import DecoderObjectiveConfig
from worldloom.errors import ArtifactError
from worldloom.model.vae.video_vae import VAEDecoder
from worldloom.model.vae.wan_vae import WanVAEDecoder
from worldloom.quantize.prune import prune_decoder
from worldloom.train.recorded import Recorded
from worldloom.train.vae_objective import psnr_db, reconstruction_parts
from worldloom.train.vae_windows import (
    Frames,
    Windows,
    draw_windows,
    fixed_windows,
    long_enough,
    to_video,
)

__all__ = ["DecoderObjective", "DecoderObjectiveConfig", "TeacherVAE", "feature_distance"]

Outputs = tuple[Tensor, ...]
Compute = Callable[..., Outputs]
DecoderT = TypeVar("DecoderT", VAEDecoder, WanVAEDecoder)
DecoderT_co = TypeVar("DecoderT_co", VAEDecoder, WanVAEDecoder, covariant=True)


@runtime_checkable
class TeacherVAE(Protocol[DecoderT_co]):
    """A VAE whose decoder can be pruned: `VideoVAE` or `WanVAE`."""

    @property
    def decoder(self) -> DecoderT_co:
        """The full decoder."""

    def encode(self, video: Tensor) -> Tensor:
        """Encode frames to normalised latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to frames in [-1, 1]."""

    def eval(self) -> object:
        """Enter evaluation mode."""

    def requires_grad_(self, requires_grad: bool = ...) -> object:
        """Freeze or thaw every parameter."""

    def to(self, device: torch.device) -> object:
        """Move to a device."""


class DecoderObjective(Generic[DecoderT]):
    """Loss of the narrow decoder against the wide one; parity on held-out windows."""

    def __init__(
        self,
        vae: TeacherVAE[DecoderT],
        config: DecoderObjectiveConfig,
        *,
        train: Sequence[Frames],
        held_out: Sequence[Frames],
        student: DecoderT | None = None,
    ) -> None:
        """Cut the student out of the VAE's decoder, or go on with one that was taught before.

        A student that is given may keep other channels than the VAE would lose now, so its
        features are not matched.
        """
        vae.eval()
        vae.requires_grad_(requires_grad=False)
        self.teacher: TeacherVAE[DecoderT] = vae
        self.config = config
        pruned = prune_decoder(vae.decoder, config.removed)
        self._kept = pruned.kept_channels if student is None else None
        if student is not None and student.config != pruned.decoder.config:
            message = f"student {student.config}: expected {pruned.decoder.config}"
            raise ArtifactError(message)
        self.student: DecoderT = (student or pruned.decoder).requires_grad_(requires_grad=True)
        self.module: nn.Module = self.student
        self._teach = _run(_taught, vae, is_recorded=config.is_recorded)
        self._answer = _run(_answered, self.student, is_recorded=config.is_recorded)
        self._train = long_enough(train, config.window_frames)
        windows = fixed_windows(
            long_enough(held_out, config.window_frames),
            config.window_frames,
            config.evaluation_windows,
        )
        self._held_out = windows
        with torch.no_grad():
            self._held_out_latents = vae.encode(windows)
            self._held_out_target = vae.decode(self._held_out_latents)

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of one random batch and its parts."""
        return self.loss_of(self.draw(step, generator), step, generator)

    def draw(self, step: int, generator: torch.Generator) -> Windows:
        """Draw a step's windows."""
        del step
        config = self.config
        return draw_windows(self._train, config.window_frames, config.batch_size, generator)

    def names(self, batch: Windows) -> Sequence[str]:
        """Return which training clips the windows were cut from."""
        return [f"training clip {number}" for number in batch.clip_numbers]

    def loss_of(
        self, batch: Windows, step: int, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of the windows and its parts."""
        del step
        config = self.config
        device = self._device()
        video = to_video(batch.frames.to(device))
        shape = (len(video), *self._held_out_latents.shape[1:])
        noise = config.latent_noise * torch.randn(shape, generator=generator)
        latents, target, *teacher_features = self._teach(video, to_device(noise, device))
        decoded, *features = self._answer(latents)
        parts = reconstruction_parts(decoded.float(), target.float())
        if self._kept is not None:
            parts["feature"] = feature_distance(features, teacher_features, self._kept)
        weights = {
            "l1": config.l1_weight,
            "l2": config.l2_weight,
            "gradient": config.gradient_weight,
            "texture": config.texture_weight,
            "temporal": config.temporal_weight,
            "feature": config.feature_weight,
        }
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        found = torch.stack([part.detach() for part in parts.values()]).tolist()  # one wait
        return total, {f"decoder_{name}": v for name, v in zip(parts, found, strict=True)}

    def add(self, frames: Frames) -> None:
        """Learn from one more clip, from the next batch on."""
        self._train += long_enough([frames], self.config.window_frames)

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return PSNR in decibels against the video, for both decoders, and between them."""
        latents = self._held_out_latents.to(self._device())
        decoded = self.student(latents)[0].clamp(-1, 1).cpu()
        pruned = psnr_db(decoded, self._held_out)
        full = psnr_db(self._held_out_target, self._held_out)
        return {
            "pruned_psnr_db": pruned,
            "full_psnr_db": full,
            "psnr_change_db": pruned - full,
            "parity_psnr_db": psnr_db(decoded, self._held_out_target),
        }

    def _device(self) -> torch.device:
        """Return where the learner put the student; the teacher is moved there too."""
        device = next(self.student.parameters()).device
        self.teacher.to(device)
        return device


def _run(compute: Compute, network: object, *, is_recorded: bool) -> Callable[..., Outputs]:
    if not is_recorded:
        return partial(compute, network)
    assert isinstance(network, nn.Module), "what is recorded has parameters"
    return Recorded(network, compute)


def _taught(teacher: TeacherVAE[DecoderT], video: Tensor, noise: Tensor) -> Outputs:
    """Return noisy latents, what the wide decoder makes of them, and its features."""
    with torch.no_grad():
        latents = teacher.encode(video).float() + noise
        made: tuple[Tensor, list[Tensor]] = teacher.decoder.decode_with_features(latents)
    return (latents, made[0], *made[1])


def _answered(student: DecoderT, latents: Tensor) -> Outputs:
    """Return what the narrow decoder makes of latents, and its features."""
    made: tuple[Tensor, list[Tensor]] = student.decode_with_features(latents)
    return (made[0], *made[1])


def feature_distance(
    student: Sequence[Tensor], teacher: Sequence[Tensor], kept: Sequence[Tensor]
) -> Tensor:
    """Return the mean relative L1 distance between the stages' features `[B, T, C, H, W]`."""
    distances = []
    for ours, theirs, channels in zip(student, teacher, kept, strict=True):
        target = theirs[:, :, channels].float()
        distances.append((ours.float() - target).abs().mean() / (target.abs().mean() + 1e-6))
    return torch.stack(distances).mean()
