"""Teacher-forced flow matching of the stream transformer, on whole clips at once.

Every latent of a clip is committed once; every segment of the clip is noised at its own level and
denoised with the keys and values of the latents that it would see in a session: its past, and what
retrieval chooses. The target is the velocity noise - x0 (flow matching), the loss is on new latents
alone. What a segment conditions on carries residuals of the model's own estimates
(self-correction), past and memory each with its own chance and strength. It does not know
optimisers or files.

Letters: B clips, L latents, S segments of a clip, C channels, T latents of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from worldloom.config import JsonValue, digest_of, resolved
from worldloom.data.latents import LatentClips
from worldloom.diffusion.error_buffer import ErrorBuffer
from worldloom.diffusion.schedule import add_noise, sample_sigma, shift_sigma, velocity_to_x0
from worldloom.model.cost.footprint import footprint
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import ClipBatch, SegmentedClips, segments_of
from worldloom.train.flow_batch import ClipSet, FlowBatch, draw_batch, segment_shape
from worldloom.train.flow_config import FlowObjectiveConfig
from worldloom.train.own_rollouts import OwnRollouts
from worldloom.train.share import gathered, own_rows
from worldloom.train.speed import BACKWARD_AND_FORWARD
from worldloom.train.velocity import (
    Seen,
    checkpoint_blocks,
    compile_blocks,
    compiled,
    predict_velocity,
)

__all__ = ["FlowObjective", "FlowObjectiveConfig", "Seen", "predict_velocity"]

_HELD_OUT_SEED = 0
_CORRUPTION_SIGMA = 0.7
# Settings that say how fast, and not what is learnt.
_NO_MATTER = ("compilation", "checkpoint_activations", "evaluates_corrupted")


class FlowObjective:
    """Flow-matching loss of a stream transformer on latent clips."""

    def __init__(
        self,
        config: FlowObjectiveConfig,
        transformer: WorldModelTransformer,
        train: LatentClips | ClipSet,
        held_out: LatentClips,
    ) -> None:
        """Prepare both sets; the camera is that of the training clips."""
        self.config = config
        self.transformer = transformer
        shape = transformer.config
        self.conditioner = Conditioner(shape, train.intrinsics)
        self.train: ClipSet = (
            SegmentedClips(train, shape, config.retrieval)
            if isinstance(train, LatentClips)
            else train
        )
        self.held_out = SegmentedClips(held_out, shape, config.retrieval)
        self._predict = compiled(config.compilation)
        if config.compilation in ("blocks", "recorded_blocks"):
            compile_blocks(transformer)
        if config.checkpoint_activations:
            checkpoint_blocks(transformer)
        self.error_buffer = ErrorBuffer(
            config.error_buffer, (shape.latent_channels, shape.latent_height, shape.latent_width)
        )
        self.own_rollouts = OwnRollouts(config.self_correction)
        self._num_first_clips = len(self.train)  # a pool grows, and rollouts keep their clips

    @property
    def module(self) -> nn.Module:
        """The transformer."""
        return self.transformer

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the mean squared error of the velocity on a random batch of clips."""
        return self.loss_of(self.draw(step, generator), step, generator)

    def draw(self, step: int, generator: torch.Generator) -> FlowBatch:
        """Draw a step's clips, noise and levels; the same ones for every source of residuals."""
        own_clips = None
        if self._source == "rollout":
            own_clips = self.own_rollouts.clips(step, self._num_first_clips)
        batch = draw_batch(self.config, self.transformer.config, self.train, generator, own_clips)
        if torch.cuda.is_available():
            batch.clips = batch.clips.pinned()
            batch.noise = None if batch.noise is None else batch.noise.pin_memory()
        return batch

    def loss_of(
        self, batch: FlowBatch, step: int, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the mean squared error of the velocity on a batch that was drawn."""
        device = self._device
        clips = batch.clips.to(device)
        x0, noise = self._segments(clips), self._noise(batch, generator)
        sigma = batch.sigma[batch.own_segments].to(device, non_blocking=True)
        seen = self._seen(batch, clips, noise, step, generator)
        noisy = add_noise(x0, noise, sigma)
        velocity = self._predict(self.transformer, self.conditioner, clips, seen, noisy, sigma)
        loss = (velocity - (noise - x0)).square().mean()
        if self._source == "buffer":
            residual = velocity_to_x0(noisy, velocity.detach(), sigma) - x0
            pick = int(torch.randint(0, x0.shape[2], (), generator=generator))
            is_clean = batch.is_clean.repeat_interleave(self.train.num_segments)
            found = gathered(residual[:, :, pick])
            self.error_buffer.push(found, batch.sigma, generator, is_clean)
        return loss, {}

    def names(self, batch: FlowBatch) -> Sequence[str]:
        """Return the ids of the whole batch's clips."""
        return [self.train.clip_ids[row] for row in batch.rows.tolist()]

    @torch.no_grad()
    def evaluate(self) -> Mapping[str, float]:
        """Return the held-out loss over fixed noise and noise levels.

        Where asked, also that behind a context that the model itself estimated from noise.
        """
        generator = torch.Generator().manual_seed(_HELD_OUT_SEED)
        totals = {"held_out_loss": 0.0}
        if self.config.evaluates_corrupted:
            totals["held_out_loss_corrupted"] = 0.0
        for rows in torch.arange(len(self.held_out)).split(self.config.batch_clips):
            batch = self.held_out.batch(rows)
            x0 = self._segments(batch)
            sigma = sample_sigma(len(x0), self.config.timestep_shift, generator)
            noise = torch.randn(x0.shape, generator=generator)
            x0, sigma, noise = (value.to(self._device) for value in (x0, sigma, noise))
            batch = batch.to(self._device)
            contexts = [batch.latents]
            if self.config.evaluates_corrupted:
                level = torch.full_like(sigma, _CORRUPTION_SIGMA)
                contexts.append(batch.latents + self._own_residuals(batch, x0, noise, level))
            for name, context in zip(totals, contexts, strict=True):
                velocity = self._plainly(batch, Seen(context), add_noise(x0, noise, sigma), sigma)
                totals[name] += float((velocity - (noise - x0)).square().mean()) * len(rows)
        return {name: total / len(self.held_out) for name, total in totals.items()}

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the module."""
        return self.error_buffer.state_tensors() | self.own_rollouts.state_tensors()

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors`."""
        self.error_buffer.load_state_tensors(tensors)
        self.own_rollouts.load_state_tensors(tensors)

    def settings(self) -> Mapping[str, JsonValue]:
        """Return the objective's settings and what tells its clips from others."""
        flow = {name: v for name, v in resolved(self.config).items() if name not in _NO_MATTER}
        ids: list[JsonValue] = list(self.train.clip_ids)
        shape = resolved(self.transformer.config)
        return {"flow": flow, "transformer": shape, "clips": digest_of(ids)}

    @property
    def samples_per_step(self) -> int:
        """Segments of a step, over all processes."""
        return self.config.batch_clips * self.train.num_segments

    @property
    def flops_per_step(self) -> float:
        """Operations of a step on this process: each segment is prepared, denoised, committed."""
        own = own_rows(self.config.batch_clips)
        segments = (own.stop - own.start) * self.train.num_segments
        of_segment = footprint(self.transformer.config).flops_by_pass.segment(1)
        return float(BACKWARD_AND_FORWARD * segments * of_segment)

    @property
    def _source(self) -> str:
        return self.config.self_correction.source

    @property
    def _device(self) -> torch.device:
        """Where the transformer learns; the conditioner's ray grids follow it."""
        device = self.transformer.patch_embed.weight.device
        self.conditioner.to(device)
        return device

    def _segments(self, batch: ClipBatch) -> Tensor:
        """Return [B S, C, T, H, W] of the clips' latents."""
        return segments_of(batch.latents, self.transformer.config.segment_latents).transpose(1, 2)

    def _noise(self, batch: FlowBatch, generator: torch.Generator) -> Tensor:
        """Return this process's noise, drawn ahead or on the device."""
        device = self._device
        if batch.noise is not None:
            return batch.noise.to(device, non_blocking=True)
        seed = int(torch.randint(0, 1 << 62, (), generator=generator))
        there = torch.Generator(device).manual_seed(seed)
        shape = segment_shape(self.transformer.config, len(batch.sigma))
        return torch.randn(shape, generator=there, device=device)[batch.own_segments]

    def _seen(
        self,
        batch: FlowBatch,
        clips: ClipBatch,
        noise: Tensor,
        step: int,
        generator: torch.Generator,
    ) -> Seen:
        """Return what segments condition on, with residuals of the model's own estimates."""
        latents = clips.latents
        if self._source == "none":
            return Seen(latents)
        residuals = self._residuals(batch, clips, noise, step, generator)
        past, memory = (
            self.error_buffer.disturb(
                latents,
                step,
                generator,
                role,
                batch.is_clean,
                residuals=residuals,
                rows=batch.own_rows,
                num_samples=len(batch.rows),
            )
            for role in ("past", "memory")
        )
        if past is not latents or memory is not latents:
            return Seen(past, memory)
        # What is compiled or recorded as a whole would be so again at the first residual.
        is_whole = self.config.compilation in ("default", "recorded", "recorded_blocks")
        return Seen(latents, latents.clone()) if is_whole else Seen(latents)

    @torch.no_grad()
    def _residuals(
        self,
        batch: FlowBatch,
        clips: ClipBatch,
        noise: Tensor,
        step: int,
        generator: torch.Generator,
    ) -> Tensor | None:
        """Return each latent's own residual [B, L, C, H, W]; None: the buffer's are drawn."""
        config = self.config.self_correction
        if config.source == "resampled":
            uniform = torch.rand(len(batch.sigma), generator=generator)[batch.own_segments]
            level = config.min_sigma + (config.max_sigma - config.min_sigma) * uniform
            level = shift_sigma(level, self.config.timestep_shift).to(self._device)
            # A segment never sees its own estimate, so the noise that it learns on will do.
            return self._own_residuals(clips, self._segments(clips), noise, level)
        if config.source == "rollout":
            chosen = batch.rows[: config.rollout_clips]
            of_model = self.train.batch(chosen).to(self._device)
            made = self.own_rollouts.history(step, self.transformer, self.conditioner, of_model)
            residuals = torch.zeros_like(clips.latents)
            ours = range(*batch.own_rows.indices(len(batch.rows)))
            for place, row in enumerate(ours):
                if row < len(made):
                    residuals[place] = made[row].to(residuals) - of_model.latents[row]
            return residuals
        return None

    @torch.no_grad()
    def _own_residuals(self, clips: ClipBatch, x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return what the model's one-step estimates of clips' latents [B, L, ...] are off by."""
        noisy = add_noise(x0, noise, level)
        velocity = self._plainly(clips, Seen(clips.latents), noisy, level)
        off = (velocity_to_x0(noisy, velocity.float(), level) - x0).transpose(1, 2)
        by_clip = off.unflatten(0, (len(clips.latents), -1)).flatten(1, 2)
        return torch.cat([torch.zeros_like(clips.latents[:, :1]), by_clip], dim=1)

    def _plainly(self, clips: ClipBatch, seen: Seen, noisy: Tensor, sigma: Tensor) -> Tensor:
        return predict_velocity(self.transformer, self.conditioner, clips, seen, noisy, sigma)
