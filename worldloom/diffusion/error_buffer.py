"""The error buffer: residuals of the model's own estimates, injected into what it conditions on.

delta = x0_estimate - x0 is kept by noise level in reservoirs and added, scaled, to past and memory
latents during training, so that the model learns to correct itself (Matrix-Game 3.0 after Stable
Video Infinity). It does not know where the latents come from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldloom.diffusion.config import ErrorBufferConfig


class ErrorBuffer:
    """Reservoirs of residuals [C, H, W] of single latents, one reservoir a noise bucket."""

    def __init__(self, config: ErrorBufferConfig, latent_shape: tuple[int, int, int]) -> None:
        """Allocate empty reservoirs."""
        self.config = config
        self.residuals = torch.zeros(config.num_buckets, config.bucket_size, *latent_shape)
        self.counts = torch.zeros(config.num_buckets, dtype=torch.long)

    def push(self, residuals: Tensor, sigma: Tensor, generator: torch.Generator) -> None:
        """Offer residuals [B, C, H, W] found at noise levels sigma [B] (reservoir sampling)."""
        size = self.config.bucket_size
        buckets = (sigma * self.config.num_buckets).long().clamp(0, self.config.num_buckets - 1)
        for residual, bucket in zip(residuals.detach().float(), buckets.tolist(), strict=True):
            count = int(self.counts[bucket])
            slot = count
            if count >= size:
                slot = int(torch.randint(0, count + 1, (), generator=generator))
            if slot < size:
                self.residuals[bucket, slot] = residual
            self.counts[bucket] = count + 1

    def disturb(self, latents: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """Return latents [B, L, C, H, W] with residuals added to a share of the samples."""
        filled = self.counts.clamp(max=self.config.bucket_size)
        total = int(filled.sum())
        if step < self.config.warmup_steps or not total:
            return latents
        batch, length = latents.shape[:2]
        flat = torch.cat([self.residuals[b, : int(n)] for b, n in enumerate(filled)])
        picks = torch.randint(0, total, (batch, length), generator=generator)
        strength = torch.rand(batch, 1, generator=generator) * self.config.max_strength
        chosen = torch.rand(batch, 1, generator=generator) < self.config.probability
        scale = (strength * chosen)[..., None, None, None]
        return latents + scale * flat[picks]

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        return {"error_buffer.residuals": self.residuals, "error_buffer.counts": self.counts}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors`."""
        self.residuals.copy_(tensors["error_buffer.residuals"])
        self.counts.copy_(tensors["error_buffer.counts"])
