"""The error buffer: residuals of the model's own estimates, injected into what it conditions on.

delta = x0_estimate - x0 is kept by noise level in reservoirs and added, scaled, to past and memory
latents during training, so that the model learns to correct itself (Matrix-Game 3.0 after Stable
Video Infinity): past x + gamma_h delta, memory m + gamma_m delta, delta uniform over the buffer,
each gamma uniform from 0. One buffer serves both roles; each role has its own chance and range,
and draws by itself. It does not know where the latents come from.

Every draw is made where the generator lives and then moved, so that results do not depend on the
device of buffer or latents.

Letters: B batch, L latents of a sample, C channels, H W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.diffusion.from_host import to_device
from worldloom.errors import TrainingError

Role = Literal["past", "memory"]

_DTYPES = {"float16": torch.float16, "float32": torch.float32}
_RESIDUALS, _COUNTS = "error_buffer.residuals", "error_buffer.counts"


class ErrorBuffer:
    """Reservoirs of residuals [C, H, W] of single latents, one reservoir a noise bucket."""

    def __init__(
        self,
        config: ErrorBufferConfig,
        latent_shape: tuple[int, int, int],
        *,
        total_steps: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Allocate empty reservoirs.

        Args:
            config: Sizes, chances and ranges.
            latent_shape: [C, H, W] of a residual.
            total_steps: Length of the run, needed for a warm-up given as a share of it.
            device: Where residuals are kept.

        Raises:
            ValueError: for a warm-up share without the run's length.
        """
        self.config = config
        self.first_step = _first_step(config, total_steps)
        self.residuals = torch.zeros(
            (config.num_buckets, config.bucket_size, *latent_shape),
            dtype=_DTYPES[config.storage_dtype],
            device=device,
        )
        self.counts = torch.zeros(config.num_buckets, dtype=torch.long)

    def draw_clean(self, count: int, generator: torch.Generator) -> Bool[Tensor, " count"]:
        """Draw which of `count` samples nothing at all is injected into, for both roles."""
        draw = torch.rand(count, generator=generator, device=generator.device)
        return draw < self.config.clean_probability

    def push(
        self,
        residuals: Float[Tensor, "B C H W"],
        sigma: Float[Tensor, " B"],
        generator: torch.Generator,
        is_clean: Bool[Tensor, " B"] | None = None,
    ) -> None:
        """Offer residuals found at noise levels sigma (reservoir sampling).

        Args:
            residuals: Clean estimate minus clean latent.
            sigma: Levels in [0, 1] at which the estimates were made; they choose the bucket.
            generator: Source of every draw.
            is_clean: What `draw_clean` gave; residuals of such samples are offered by
                `clean_push_probability`.

        Raises:
            TrainingError: for a residual that the storage format cannot hold.
        """
        self._require_holdable(residuals)
        where = generator.device
        buckets = (sigma.to(where) * self.config.num_buckets).long()
        buckets = buckets.clamp(0, self.config.num_buckets - 1)
        offered = self._offered(len(residuals), is_clean, generator)
        draws = torch.rand(len(residuals), generator=generator, dtype=torch.float64, device=where)
        kept = self._kept(buckets.tolist(), offered, draws.tolist())
        self.residuals = self.residuals.to(residuals.device)  # it lives where the model learns
        if kept:
            rows = to_device(torch.tensor(list(kept.values())), residuals.device)
            cells = to_device(torch.tensor(list(kept)), residuals.device)
            values = residuals.detach()[rows]
            self.residuals[cells[:, 0], cells[:, 1]] = values.to(self.residuals.dtype)

    def disturb(
        self,
        latents: Float[Tensor, "B L C H W"],
        step: int,
        generator: torch.Generator,
        role: Role = "past",
        is_clean: Bool[Tensor, " N"] | None = None,
        *,
        residuals: Float[Tensor, "B L C H W"] | None = None,
        rows: slice = slice(None),
        num_samples: int | None = None,
    ) -> Float[Tensor, "B L C H W"]:
        """Return latents with residuals added to a share of the samples.

        A residual is drawn for each latent, a strength and the decision for each sample. Before
        the warm-up is over, or while there is nothing to draw, the latents come back as they are.

        Args:
            latents: What the model conditions on.
            step: Training step, for the warm-up.
            generator: Source of every draw.
            role: Whose chance and range hold.
            is_clean: What `draw_clean` gave; such samples stay as they are.
            residuals: Each latent's own residual, instead of one drawn from the reservoirs.
            rows: Which of the samples these latents are; everything is drawn for all of them.
            num_samples: How many samples there are; None: as many as these latents.
        """
        filled = self.counts.clamp(max=self.config.bucket_size)
        total = int(filled.sum())
        if step < self.first_step or (residuals is None and not total):
            return latents
        count, length = num_samples or len(latents), latents.shape[1]
        where = generator.device
        if residuals is None:
            picks = torch.randint(0, total, (count, length), generator=generator, device=where)
            residuals = self._gather(picks[rows].cpu(), filled)
        probability, max_strength = self._role(role)
        least = min(self.config.min_strength, max_strength)
        strength = torch.rand(count, 1, generator=generator, device=where)
        strength = least + strength * (max_strength - least)
        chosen = torch.rand(count, 1, generator=generator, device=where) < probability
        if is_clean is not None:
            chosen &= ~is_clean.to(where)[:, None]
        scale = to_device((strength * chosen)[rows, ..., None, None, None], latents.device)
        added = scale * residuals.to(latents.device, torch.float32)
        return (latents + added).to(latents.dtype)

    def state_tensors(self) -> dict[str, Shaped[Tensor, "*_"]]:
        """Return what a checkpoint must hold."""
        return {_RESIDUALS: self.residuals, _COUNTS: self.counts}

    def load_state_tensors(self, tensors: Mapping[str, Shaped[Tensor, "*_"]]) -> None:
        """Restore `state_tensors`; raises `TrainingError` for tensors of another buffer."""
        for name, own in self.state_tensors().items():
            found = tensors.get(name)
            if found is None or found.shape != own.shape or found.dtype != own.dtype:
                given = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                message = (
                    f"checkpoint tensor {name}: found {given}, expected {own.dtype}"
                    f" {list(own.shape)}"
                )
                raise TrainingError(message)
            own.copy_(found)

    def _role(self, role: Role) -> tuple[float, float]:
        """Return (probability, max_strength) of a role."""
        if role == "past":
            return self.config.probability, self.config.max_strength
        return self.config.memory_probability, self.config.memory_max_strength

    def _gather(self, picks: Tensor, filled: Tensor) -> Tensor:
        """Return residuals [B, L, C, H, W] of picks [B, L] among all that are filled."""
        ends = filled.cumsum(0)
        buckets = torch.searchsorted(ends, picks, right=True)
        slots = picks - (ends - filled)[buckets]
        device = self.residuals.device
        return self.residuals[to_device(buckets, device), to_device(slots, device)]

    def _kept(
        self, buckets: list[int], offered: list[bool], draws: list[float]
    ) -> dict[tuple[int, int], int]:
        """Return which residual each cell (bucket, slot) gets; the last one of a cell stays."""
        kept: dict[tuple[int, int], int] = {}
        counts, size = self.counts.tolist(), self.config.bucket_size
        for row, (bucket, is_offered, draw) in enumerate(zip(buckets, offered, draws, strict=True)):
            if not is_offered:
                continue
            count = counts[bucket]
            slot = count if count < size else int(draw * (count + 1))
            if slot < size:
                kept[bucket, slot] = row
            counts[bucket] = count + 1
        self.counts.copy_(torch.tensor(counts))
        return kept

    def _offered(
        self, count: int, is_clean: Tensor | None, generator: torch.Generator
    ) -> list[bool]:
        if is_clean is None:
            return [True] * count
        draw = torch.rand(count, generator=generator, device=generator.device)
        offered: list[bool] = (
            (draw < self.config.clean_push_probability) | ~is_clean.to(draw.device)
        ).tolist()
        return offered

    def _require_holdable(self, values: Tensor) -> None:
        if self.residuals.dtype == torch.float32:  # nothing to check, and nothing to wait for
            return
        limit = torch.finfo(self.residuals.dtype).max
        largest = float(values.abs().amax()) if values.numel() else 0.0
        if largest > limit:
            message = (
                f"error buffer: a residual of {largest:.3g} does not fit into"
                f" {self.config.storage_dtype}, expected at most {limit:.3g}"
            )
            raise TrainingError(message)


def _first_step(config: ErrorBufferConfig, total_steps: int | None) -> int:
    if not config.warmup_fraction:
        return config.warmup_steps
    if total_steps is None:
        message = (
            f"warmup_fraction={config.warmup_fraction}: expected total_steps to take the share of"
        )
        raise ValueError(message)
    return max(config.warmup_steps, math.ceil(config.warmup_fraction * total_steps))
