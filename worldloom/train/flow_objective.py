"""Teacher-forced flow matching of the stream transformer, on whole clips at once.

Every latent of a clip is committed once; every segment of the clip is noised at its own level and
denoised with the keys and values of the latents that it would see in a session: its past, and what
retrieval chooses. The target is the velocity noise - x0 (flow matching), the loss is on new latents
alone. Context latents carry residuals of the model's own estimates (error buffer). It does not know
optimisers or files.

Letters: B clips, L latents, S segments of a clip, M context latents, T latents of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldloom.data.latents import LatentClips
from worldloom.diffusion.error_buffer import ErrorBuffer
from worldloom.diffusion.schedule import add_noise, sample_sigma, velocity_to_x0
from worldloom.frames import last_frame_of_latent
from worldloom.memory.retrieval import RetrievalConfig, greedy_cover, pose_distance, visibility
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.text_encoder import tokenize
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner, action_windows, past_indices
from worldloom.train.flow_config import FlowObjectiveConfig

__all__ = ["Batch", "FlowObjective", "FlowObjectiveConfig", "SegmentedClips", "predict_velocity"]


@dataclass
class _ContextPlan:
    """Context latents of every segment: indices [N, S, M], validity [N, S, M]."""

    indices: Tensor
    is_valid: Tensor


@dataclass
class Batch:
    """Clips ready for the transformer; B clips of L latents."""

    latents: Tensor  # [B, L, C, H, W]
    poses: Tensor  # [B, L, 4, 4]
    keyboard: Tensor  # [B, L, W, keys]
    mouse: Tensor  # [B, L, W, axes]
    prompt_tokens: Tensor  # [B, words]
    context_indices: Tensor  # [B, S, M]
    context_valid: Tensor  # [B, S, M]


class SegmentedClips:
    """Latent clips with the context of every segment worked out once."""

    def __init__(
        self, clips: LatentClips, config: TransformerConfig, retrieval: RetrievalConfig
    ) -> None:
        """Cut clips into segments after latent 0 and retrieve each segment's memory."""
        self.config = config
        length = clips.latents.shape[1]
        self.num_segments = (length - 1) // config.segment_latents
        self.num_latents = 1 + self.num_segments * config.segment_latents
        self.latents = clips.latents[:, : self.num_latents]
        frames = last_frame_of_latent(1) * torch.arange(self.num_latents)
        self.poses = clips.poses[:, frames]
        at = torch.arange(self.num_latents).expand(len(clips), -1)
        self.keyboard = action_windows(clips.keyboard, at, config.action_window_frames)
        self.mouse = action_windows(clips.mouse, at, config.action_window_frames)
        self.prompt_tokens = tokenize(clips.prompts, config.text_vocabulary, config.text_length)
        self.plan = self._plan_context(clips, retrieval)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.latents)

    def batch(self, rows: Tensor) -> Batch:
        """Return the clips of these rows [B]."""
        return Batch(
            latents=self.latents[rows].float(),
            poses=self.poses[rows],
            keyboard=self.keyboard[rows],
            mouse=self.mouse[rows],
            prompt_tokens=self.prompt_tokens[rows],
            context_indices=self.plan.indices[rows],
            context_valid=self.plan.is_valid[rows],
        )

    def segment_start(self, segment_index: int) -> int:
        """Return the first latent of a segment."""
        return 1 + segment_index * self.config.segment_latents

    def _plan_context(self, clips: LatentClips, retrieval: RetrievalConfig) -> _ContextPlan:
        config = self.config
        shape = (len(clips), self.num_segments, config.num_context_latents)
        indices = torch.zeros(shape, dtype=torch.long)
        is_valid = torch.zeros(shape, dtype=torch.bool)
        for row in range(len(clips)):
            poses = self.poses[row].double().numpy()
            for segment in range(self.num_segments):
                start = self.segment_start(segment)
                past = past_indices(start, config.num_past_latents)
                queries = poses[start : start + config.segment_latents]
                candidates = poses[: past[0]]
                memory = (
                    greedy_cover(
                        visibility(queries, candidates, retrieval, clips.intrinsics),
                        pose_distance(queries, candidates),
                        config.num_memory_latents,
                        retrieval.distance_weight,
                    )
                    if len(candidates)
                    else []
                )
                slots = config.num_memory_latents
                for slot, index in enumerate(memory):
                    indices[row, segment, slot], is_valid[row, segment, slot] = index, True
                first = slots + config.num_past_latents - len(past)
                indices[row, segment, first:] = torch.tensor(past)
                is_valid[row, segment, first:] = True
        return _ContextPlan(indices, is_valid)


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
        self.conditioner = Conditioner(shape, train.intrinsics, train.frame_size)
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
        context_latents = self.error_buffer.disturb(batch.latents, step, generator)
        x0 = self._segments(batch.latents)
        sigma = sample_sigma(len(x0), self.config.timestep_shift, generator)
        noise = torch.randn(x0.shape, generator=generator)
        noisy = add_noise(x0, noise, sigma)
        velocity = self._predict(
            self.transformer, self.conditioner, batch, context_latents, noisy, sigma
        )
        loss = (velocity - (noise - x0)).square().mean()
        residual = velocity_to_x0(noisy, velocity.detach(), sigma) - x0
        pick = torch.randint(0, x0.shape[2], (), generator=generator)
        self.error_buffer.push(residual[:, :, pick], sigma, generator)
        return loss, {}

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return the held-out loss over fixed noise and noise levels."""
        generator = torch.Generator().manual_seed(0)
        total, count = 0.0, 0
        for rows in torch.arange(len(self.held_out)).split(self.config.batch_clips):
            batch = self.held_out.batch(rows)
            x0 = self._segments(batch.latents)
            sigma = sample_sigma(len(x0), self.config.timestep_shift, generator)
            noise = torch.randn(x0.shape, generator=generator)
            velocity = predict_velocity(
                self.transformer,
                self.conditioner,
                batch,
                batch.latents,
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

    def _segments(self, latents: Tensor) -> Tensor:
        """Return [B S, C, T, H, W] of the clips' latents [B, L, C, H, W]."""
        size = self.transformer.config.segment_latents
        segments: Tensor = latents[:, 1:].unflatten(1, (-1, size))
        return segments.flatten(0, 1).transpose(1, 2)

    def _hide_context(self, batch: Batch, generator: torch.Generator) -> Batch:
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
        return Batch(**{**vars(batch), "context_indices": indices, "context_valid": is_valid})


def predict_velocity(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: Batch,
    context_latents: Tensor,
    noisy: Tensor,
    sigma: Tensor,
) -> Tensor:
    """Return the velocity [B S, C, T, H, W] of all segments of a batch of clips.

    Args:
        context_latents: [B, L, C, H, W], what is committed (clean, or disturbed).
        noisy: [B S, C, T, H, W].
        sigma: [B S].
    """
    count, length = batch.latents.shape[:2]
    segments = batch.context_indices.shape[1]
    clean = conditioner.clean(
        context_latents.flatten(0, 1),
        batch.poses.flatten(0, 1),
        batch.keyboard.flatten(0, 1),
        batch.mouse.flatten(0, 1),
        batch.prompt_tokens.repeat_interleave(length, dim=0),
    )
    rows = torch.arange(count)[:, None, None]

    def gather(values: Tensor) -> Tensor:
        by_latent: Tensor = values.unflatten(0, (count, length))
        return by_latent[rows, batch.context_indices].flatten(0, 1).flatten(1, 2)

    blocks = [
        BlockContext(gather(block.keys), gather(block.values))
        for block in transformer.commit(clean)
    ]
    size = transformer.config.segment_latents
    starts = 1 + size * torch.arange(segments)
    anchor = batch.poses[:, starts - 1].flatten(0, 1)
    context = conditioner.context(
        blocks,
        batch.poses[rows, batch.context_indices].flatten(0, 1),
        anchor,
        (starts[:, None] - batch.context_indices).flatten(0, 1),
        batch.context_valid.flatten(0, 1),
    )

    def of_segments(values: Tensor) -> Tensor:
        by_segment: Tensor = values[:, 1:].unflatten(1, (segments, size))
        return by_segment.flatten(0, 1)

    segment = conditioner.noisy(
        noisy,
        sigma,
        of_segments(batch.poses),
        anchor,
        (of_segments(batch.keyboard), of_segments(batch.mouse)),
        batch.prompt_tokens.repeat_interleave(segments, dim=0),
    )
    return transformer.denoise(segment, context)
