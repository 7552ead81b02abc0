"""Teacher-forced flow matching of the stream transformer, on whole clips at once.

Every latent of a clip is committed once; every segment of the clip is noised at its own level and
denoised with the keys and values of the latents that it would see in a session: its past, and what
retrieval chooses. The target is the velocity noise - x0 (flow matching), the loss is on new latents
alone. What a segment conditions on carries residuals of the model's own estimates (error buffer),
past and memory each with its own chance and strength. It does not know optimisers or files.

Letters: B clips, L latents, S segments of a clip, M context latents, T latents of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.data.latents import LatentClips
from worldloom.diffusion.error_buffer import ErrorBuffer
from worldloom.diffusion.schedule import add_noise, sample_sigma, velocity_to_x0
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import (
    ClipBatch,
    SegmentedClips,
    commit_clips,
    gather_latents,
    noisy_conditions,
    segment_context,
    segments_of,
)
from worldloom.train.flow_config import FlowObjectiveConfig

__all__ = ["FlowObjective", "FlowObjectiveConfig", "Seen", "predict_velocity"]

_HELD_OUT_SEED = 0


@dataclass
class Seen:
    """Latents of whole clips as segments see them: in their past, and in their memory."""

    past: Tensor  # [B, L, C, H, W]
    memory: Tensor | None = None  # [B, L, C, H, W]; None: the same as in the past


class FlowObjective:
    """Flow-matching loss of a stream transformer on latent clips."""

    def __init__(
        self,
        config: FlowObjectiveConfig,
        transformer: WorldModelTransformer,
        train: LatentClips,
        held_out: LatentClips,
    ) -> None:
        """Prepare both sets; the camera is that of the training clips."""
        self.config = config
        self.transformer = transformer
        shape = transformer.config
        self.conditioner = Conditioner(shape, train.intrinsics)
        self.train = SegmentedClips(train, shape, config.retrieval)
        self.held_out = SegmentedClips(held_out, shape, config.retrieval)
        self._predict = (
            torch.compile(predict_velocity, dynamic=False)
            if config.compile_model
            else predict_velocity
        )
        self.error_buffer = ErrorBuffer(
            config.error_buffer, (shape.latent_channels, shape.latent_height, shape.latent_width)
        )

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.transformer

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the mean squared error of the velocity on a random batch of clips."""
        rows = torch.randint(0, len(self.train), (self.config.batch_clips,), generator=generator)
        batch = self._hide_context(self.train.batch(rows), generator)
        is_clean = self.error_buffer.draw_clean(len(rows), generator)
        seen = self._disturbed(batch.latents, step, generator, is_clean)
        x0 = self._segments(batch)
        sigma = sample_sigma(len(x0), self.config.timestep_shift, generator)
        noise = torch.randn(x0.shape, generator=generator)
        x0, sigma, noise = (value.to(self._device) for value in (x0, sigma, noise))
        noisy = add_noise(x0, noise, sigma)
        velocity = self._predict(
            self.transformer, self.conditioner, batch.to(self._device), seen, noisy, sigma
        )
        loss = (velocity - (noise - x0)).square().mean()
        residual = velocity_to_x0(noisy, velocity.detach(), sigma) - x0
        pick = int(torch.randint(0, x0.shape[2], (), generator=generator))
        is_clean = is_clean.repeat_interleave(self.train.num_segments)
        self.error_buffer.push(residual[:, :, pick], sigma, generator, is_clean)
        return loss, {}

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return the held-out loss over fixed noise and noise levels."""
        generator = torch.Generator().manual_seed(_HELD_OUT_SEED)
        total, count = 0.0, 0
        for rows in torch.arange(len(self.held_out)).split(self.config.batch_clips):
            batch = self.held_out.batch(rows)
            x0 = self._segments(batch)
            sigma = sample_sigma(len(x0), self.config.timestep_shift, generator)
            noise = torch.randn(x0.shape, generator=generator)
            x0, sigma, noise = (value.to(self._device) for value in (x0, sigma, noise))
            velocity = predict_velocity(
                self.transformer,
                self.conditioner,
                batch.to(self._device),
                Seen(batch.latents.to(self._device)),
                add_noise(x0, noise, sigma),
                sigma,
            )
            total += float((velocity - (noise - x0)).square().mean()) * len(rows)
            count += len(rows)
        return {"held_out_loss": total / count}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the module."""
        return self.error_buffer.state_tensors()

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors`."""
        self.error_buffer.load_state_tensors(tensors)

    @property
    def _device(self) -> torch.device:
        """Where the transformer learns; the conditioner's ray grids follow it."""
        device = self.transformer.patch_embed.weight.device
        self.conditioner.to(device)
        return device

    def _segments(self, batch: ClipBatch) -> Tensor:
        """Return [B S, C, T, H, W] of the clips' latents."""
        return segments_of(batch.latents, self.transformer.config.segment_latents).transpose(1, 2)

    def _disturbed(
        self, latents: Tensor, step: int, generator: torch.Generator, is_clean: Tensor
    ) -> Seen:
        """Return what segments condition on, with residuals of the model's own estimates."""
        past = self.error_buffer.disturb(latents, step, generator, "past", is_clean)
        memory = self.error_buffer.disturb(latents, step, generator, "memory", is_clean)
        if past is latents and memory is latents:
            return Seen(latents.to(self._device))
        return Seen(past.to(self._device), memory.to(self._device))

    def _hide_context(self, batch: ClipBatch, generator: torch.Generator) -> ClipBatch:
        """Drop or replace context slots of random segments."""
        config = self.config
        slots = self.transformer.config.num_memory_latents
        count, segments, _ = batch.context_valid.shape
        indices, is_valid = batch.context_indices.clone(), batch.context_valid.clone()
        draw = torch.rand(count, segments, 1, generator=generator)
        is_valid[..., :slots] &= draw >= config.no_memory_probability
        is_random = (draw >= config.no_memory_probability) & (
            draw < config.no_memory_probability + config.random_memory_probability
        )
        candidates = indices[..., -1:] - self.transformer.config.num_past_latents + 1
        drawn = torch.rand(count, segments, slots, generator=generator) * candidates.clamp(min=0)
        indices[..., :slots] = torch.where(is_random, drawn.long(), indices[..., :slots])
        keep = torch.rand(count, segments, 1, generator=generator) >= config.no_past_probability
        is_valid[..., slots:-1] &= keep
        return replace(batch, context_indices=indices, context_valid=is_valid)


def predict_velocity(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    seen: Seen,
    noisy: Float[Tensor, "BS C T H W"],
    sigma: Float[Tensor, " BS"],
) -> Float[Tensor, "BS C T H W"]:
    """Return the velocity of all segments of a batch of clips.

    Args:
        transformer: the network.
        conditioner: for its configuration and the clips' camera.
        batch: the clips.
        seen: what is committed (clean, or disturbed).
        noisy: all segments, clip by clip.
        sigma: their noise levels.
    """
    num_segments = batch.context_indices.shape[1]
    context, anchor = segment_context(conditioner, batch, num_segments)
    blocks = _context_blocks(transformer, conditioner, batch, seen)
    prepared = transformer.prepare(noisy_conditions(conditioner, batch, anchor, num_segments))
    levels = sigma[:, None].expand(-1, noisy.shape[2])
    velocity: Tensor = transformer.denoise(noisy, levels, prepared, replace(context, blocks=blocks))
    return velocity


def _context_blocks(
    transformer: WorldModelTransformer, conditioner: Conditioner, batch: ClipBatch, seen: Seen
) -> list[BlockContext]:
    """Return what each segment sees, block by block: memory slots first, then the past."""
    past = commit_clips(transformer, conditioner, batch, seen.past)
    if seen.memory is None:
        return gather_latents(past, batch.context_indices)
    memory = commit_clips(transformer, conditioner, batch, seen.memory)
    slots = transformer.config.num_memory_latents
    of_memory = gather_latents(memory, batch.context_indices[..., :slots])
    of_past = gather_latents(past, batch.context_indices[..., slots:])
    return [
        BlockContext(
            torch.cat([left.keys, right.keys], dim=1),
            torch.cat([left.values, right.values], dim=1),
        )
        for left, right in zip(of_memory, of_past, strict=True)
    ]
