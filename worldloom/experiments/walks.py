"""Many walks at once: the same latents that sessions would give, for the price of a batch.

A session serves one player and keeps a few slots; here every walk's poses and actions are known, so
all walks advance together and each latent's keys and values are computed once and kept. Noise is a
session's, a function of the walk's seed and the segment alone, so it does not hang on who else is
in the batch. It does not know how context is chosen, nor what becomes of the frames.

Letters: B walks, L latents, S segments, T latents of a segment, M context latents, P tokens of a
latent, N heads, D channels of a head, W frames of an action window, F frames.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldloom.arrays import FloatArray
from worldloom.data.schema import Clip
from worldloom.diffusion.solver import make_solver
from worldloom.diffusion.solver_state import Solver, SolverState, Velocity
from worldloom.errors import DataError
from worldloom.evaluate.suite import session_poses
from worldloom.evaluate.video_quality import Frames
from worldloom.experiments.memory_plan import ContextPlan
from worldloom.frames import TEMPORAL_STRIDE
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import Context
from worldloom.rollout.segment import Windows, action_windows
from worldloom.rollout.world_model import (
    WorldModel,
    image_to_video,
    segment_generator,
    told_sigma,
)

_WALKS_DECODED_AT_ONCE = 8
_LATENTS_DECODED_AT_ONCE = 12


@dataclass
class Walked:
    """What came of walks."""

    latents: Float[Tensor, "B L C H W"]
    segment_seconds: list[float] = field(default_factory=list)


@torch.inference_mode()
def walk(
    model: WorldModel, cases: Sequence[Clip], plans: Sequence[ContextPlan], seeds: Sequence[int]
) -> Walked:
    """Return the latents of walks along recorded poses and actions, from their start frames.

    Args:
        model: a stream model without guidance.
        cases: recordings of one length.
        plans: what each one's segments see.
        seeds: each one's noise.

    Raises:
        DataError: for cases of several lengths.
    """
    if len({case.num_frames for case in cases}) != 1:
        message = f"walks of {sorted({c.num_frames for c in cases})} frames: expected one length"
        raise DataError(message)
    going = _Going(model, cases, plans)
    seconds = []
    for segment in range(len(plans[0].chosen)):
        began = time.perf_counter()
        going.advance(segment, [segment_generator(seed, segment) for seed in seeds])
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds.append(time.perf_counter() - began)
    return Walked(going.latents[:, : going.length].cpu(), seconds)


@torch.inference_mode()
def films(model: WorldModel, latents: Float[Tensor, "B L C H W"]) -> list[Frames]:
    """Return the frames [F, H, W, 3] of walks' latents, some walks at a time."""
    made: list[Frames] = []
    for walks in latents.transpose(1, 2).split(_WALKS_DECODED_AT_ONCE):
        cache = None
        parts = []
        for chunk in walks.split(_LATENTS_DECODED_AT_ONCE, dim=2):
            video, cache = model.decoder(chunk.to(model.device), cache)
            pixels = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            parts.append(pixels.permute(0, 2, 3, 4, 1).cpu())
        made += [frames.numpy() for frames in torch.cat(parts, dim=1)]
    return made


class _Going:
    """Walks under way."""

    def __init__(
        self, model: WorldModel, cases: Sequence[Clip], plans: Sequence[ContextPlan]
    ) -> None:
        self.model = model
        config = self._config = model.transformer.config
        count = len(cases)
        self._chosen = torch.from_numpy(np.stack([plan.chosen for plan in plans])).to(model.device)
        self._is_valid = torch.from_numpy(np.stack([plan.is_valid for plan in plans])).to(
            model.device
        )
        frame_poses = np.stack([session_poses(case) for case in cases])
        length = (frame_poses.shape[1] - 1) // TEMPORAL_STRIDE + 1
        self._poses = self._on_device(frame_poses[:, ::TEMPORAL_STRIDE])
        self._windows = self._all_windows(cases, length)
        self._prompt = torch.cat([model.encode_prompt(case.prompt) for case in cases])
        shape = (count, length, config.tokens_per_latent_frame, config.num_heads, config.head_dim)
        dtype = model.transformer.dtype
        self._blocks = [
            BlockContext(
                torch.zeros(shape, dtype=dtype, device=model.device),
                torch.zeros(shape, dtype=dtype, device=model.device),
            )
            for _ in range(config.num_blocks)
        ]
        grid = (config.latent_channels, config.latent_height, config.latent_width)
        self.latents = torch.zeros(count, length, *grid, device=model.device)
        self.length = 0
        videos = [image_to_video(case.frames[0], model.frame_size) for case in cases]
        first = model.encoder(torch.cat(videos).to(model.device))[0]
        self._commit(first, None)

    def advance(self, segment: int, generators: Sequence[torch.Generator]) -> None:
        """Generate and commit every walk's next segment."""
        model, start = self.model, self.length
        new = slice(start, start + self._config.segment_latents)
        anchor = self._poses[:, start - 1]
        context = self._context(segment, anchor)
        prepared = model.transformer.prepare(
            model.conditioner.noisy(
                self._poses[:, new], anchor, self._windows_of(new), self._prompt
            )
        )

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            told = told_sigma(sigma, model.sampler)[:, None]
            levels = told.expand(-1, self._config.segment_latents)
            return model.transformer.denoise(noisy, levels, prepared, context).float()

        latents = self._solve(velocity, generators)
        self._commit(latents, context)

    def _solve(self, velocity: Velocity, generators: Sequence[torch.Generator]) -> Tensor:
        """Return latents [B, C, T, H, W], each walk's drawn from its own generator."""
        sampler, config = self.model.sampler, self._config
        grid = (config.latent_channels, config.segment_latents)
        shape = (1, *grid, config.latent_height, config.latent_width)
        sigmas = torch.tensor([*sampler.sigmas, 0.0])
        solvers: list[Solver] = [make_solver(sampler.solver, sigmas) for _ in generators]
        states = [
            SolverState(torch.randn(shape, generator=generator).to(self.model.device))
            for generator in generators
        ]
        for level in sampler.sigmas:
            noisy = torch.cat([state.latents for state in states])
            told = torch.full((len(noisy),), level, device=noisy.device)
            answers = velocity(noisy, told).split(1)
            states = [
                solver.step(state, answer, generator)
                for solver, state, answer, generator in zip(
                    solvers, states, answers, generators, strict=True
                )
            ]
        return torch.cat([state.latents for state in states])

    def _context(self, segment: int, anchor: Float[Tensor, "B 4 4"]) -> Context:
        chosen, is_valid = self._chosen[:, segment], self._is_valid[:, segment]
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        return self.model.conditioner.context(
            [_picked(block, rows, chosen) for block in self._blocks],
            self._poses[rows, chosen],
            anchor,
            self.length - chosen,
            is_valid,
        )

    def _commit(self, latents: Float[Tensor, "B C T H W"], seen: Context | None) -> None:
        """Take in latents: their values, and their keys and values block by block."""
        start, count = self.length, latents.shape[2]
        new = slice(start, start + count)
        self.latents[:, new] = latents.transpose(1, 2)
        for kept, own in zip(self._blocks, self._committed(latents, new, seen), strict=True):
            tokens = (count, self._config.tokens_per_latent_frame)
            kept.keys[:, new] = own.keys.unflatten(1, tokens)
            kept.values[:, new] = own.values.unflatten(1, tokens)
        self.length += count

    def _committed(self, latents: Tensor, new: slice, seen: Context | None) -> list[BlockContext]:
        """Return keys and values [B, T P, N, D], computed as the configuration's reach says."""
        transformer, conditioner = self.model.transformer, self.model.conditioner
        poses, windows, prompt = self._poses[:, new], self._windows_of(new), self._prompt
        if self._config.reach == "window" and seen is not None:
            anchor = self._poses[:, new.start - 1]
            prepared = transformer.prepare(conditioner.noisy(poses, anchor, windows, prompt))
            return transformer.commit(latents, prepared, seen)
        if self._config.reach == "segment" or latents.shape[2] == 1:
            prepared = transformer.prepare(conditioner.clean(poses, windows, prompt))
            return transformer.commit(latents, prepared)
        batch, count = len(latents), latents.shape[2]
        apart = latents.transpose(1, 2).flatten(0, 1)[:, :, None]
        alone = (windows[0].flatten(0, 1)[:, None], windows[1].flatten(0, 1)[:, None])
        own_prompt = prompt.repeat_interleave(count, dim=0)
        prepared = transformer.prepare(
            conditioner.clean(poses.flatten(0, 1)[:, None], alone, own_prompt)
        )
        return [
            BlockContext(
                block.keys.unflatten(0, (batch, count)).flatten(1, 2),
                block.values.unflatten(0, (batch, count)).flatten(1, 2),
            )
            for block in transformer.commit(apart, prepared)
        ]

    def _all_windows(self, cases: Sequence[Clip], length: int) -> Windows:
        at = torch.arange(length).expand(len(cases), -1)
        width = self._config.action_window_frames
        keyboard, mouse = (
            action_windows(torch.from_numpy(np.stack(rows)), at, width).to(self.model.device)
            for rows in ([c.keyboard for c in cases], [c.mouse for c in cases])
        )
        return keyboard, mouse

    def _windows_of(self, latents: slice) -> Windows:
        return self._windows[0][:, latents], self._windows[1][:, latents]

    def _on_device(self, poses: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(poses)).float().to(self.model.device)


def _picked(
    block: BlockContext, rows: Int[Tensor, "B 1"], chosen: Int[Tensor, "B M"]
) -> BlockContext:
    return BlockContext(
        block.keys[rows, chosen].flatten(1, 2), block.values[rows, chosen].flatten(1, 2)
    )
