"""Many walks at once: the same latents that sessions would give, for the price of a batch.

A session serves one player and keeps a few slots; here every walk's poses and actions are known, so
all walks advance together and each latent's keys and values are computed once and kept. Noise is a
session's, a function of the walk's seed and the segment alone, so it does not hang on who else is
in the batch. A walk may also stand in a past that was given to it, for its first segments or for
all. It does not know how context is chosen, nor what becomes of the frames.

Letters: B walks, L latents, T latents of a segment, F frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from worldloom.arrays import FloatArray
from worldloom.data.schema import Clip
from worldloom.diffusion.schedule import add_noise
from worldloom.diffusion.solver import make_solver
from worldloom.diffusion.solver_state import Solver, SolverState, Velocity
from worldloom.errors import DataError
from worldloom.evaluate.suite import session_poses
from worldloom.evaluate.video_quality import Frames
from worldloom.experiments.memory_plan import ContextPlan
from worldloom.experiments.walk_past import Chosen, CommittedPast, JoinedPast, Past, Told
from worldloom.frames import TEMPORAL_STRIDE
from worldloom.rollout.segment import Windows, action_windows
from worldloom.rollout.world_model import (
    WorldModel,
    image_to_video,
    segment_generator,
)
from worldloom.train.vae_windows import to_video

Encode = Callable[[Tensor], Tensor]

_WALKS_DECODED_AT_ONCE = 8
_LATENTS_DECODED_AT_ONCE = 12


@dataclass
class Walked:
    """What came of walks."""

    latents: Float[Tensor, "B L C H W"]
    segment_seconds: list[float] = field(default_factory=list)
    denoise_seconds: list[float] = field(default_factory=list)  # of the same, committing left out


@dataclass(frozen=True)
class GivenPast:
    """Latents that stand in for what a model made itself.

    Attributes:
        latents: of whole walks.
        num_segments: how many segments are given and not made; later ones see them, and their own.
        is_forced: make every segment, each behind the given latents alone (teacher forcing).
        start_sigma: level of noise at which a forced segment starts, from its own given latents;
            1 starts from nothing but noise.
    """

    latents: Float[Tensor, "B L C H W"]
    num_segments: int = 0
    is_forced: bool = False
    start_sigma: float = 1.0


@torch.inference_mode()
def walk(
    model: WorldModel,
    cases: Sequence[Clip],
    plans: Sequence[ContextPlan],
    seeds: Sequence[int],
    given: GivenPast | None = None,
) -> Walked:
    """Return the latents of walks along recorded poses and actions, from their start frames.

    Args:
        model: a stream model without guidance.
        cases: recordings of one length.
        plans: what each one's segments see.
        seeds: each one's noise.
        given: a past to stand in; None: what the model makes itself.

    Raises:
        DataError: for cases of several lengths.
    """
    if len({case.num_frames for case in cases}) != 1:
        message = f"walks of {sorted({c.num_frames for c in cases})} frames: expected one length"
        raise DataError(message)
    going = _Going(model, cases, plans, given)
    seconds = []
    for segment in range(len(plans[0].chosen)):
        began = time.perf_counter()
        going.advance(segment, [segment_generator(seed, segment) for seed in seeds])
        going.wait()
        seconds.append(time.perf_counter() - began)
    return Walked(going.made[:, : going.length].cpu(), seconds, going.denoise_seconds)


@torch.inference_mode()
def films(model: WorldModel, latents: Float[Tensor, "B L C H W"]) -> list[Frames]:
    """Return the frames [F, H, W, 3] of walks' latents, some walks at a time."""
    made: list[Frames] = []
    for walks in latents.transpose(1, 2).split(_WALKS_DECODED_AT_ONCE):
        cache = None
        parts = []
        for chunk in walks.split(_LATENTS_DECODED_AT_ONCE, dim=2):
            video, cache = model.decoder(chunk.to(model.device), cache)
            parts.append(to_frames(video))
        made += [frames.numpy() for frames in torch.cat(parts, dim=1)]
    return made


@torch.inference_mode()
def recorded_latents(
    model: WorldModel, encode: Encode, recordings: Sequence[Frames]
) -> Float[Tensor, "B L C H W"]:
    """Return the latents of recordings of one length, on the CPU."""
    made = [
        encode(to_video(frames).to(model.device)).transpose(1, 2).cpu() for frames in recordings
    ]
    return torch.cat(made)


def to_frames(video: Float[Tensor, "B RGB F Y X"]) -> UInt8[Tensor, "B F Y X RGB"]:
    """Return what a decoder made, as bytes on the CPU."""
    pixels = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).cpu()


def cut_short(case: Clip, num_frames: int) -> Clip:
    """Return the first frames of a case."""
    return replace(
        case,
        frames=case.frames[:num_frames],
        poses_c2w=case.poses_c2w[:num_frames],
        keyboard=case.keyboard[:num_frames],
        mouse=case.mouse[:num_frames],
    )


class _Going:
    """Walks under way."""

    def __init__(
        self,
        model: WorldModel,
        cases: Sequence[Clip],
        plans: Sequence[ContextPlan],
        given: GivenPast | None,
    ) -> None:
        self.model, self._given = model, given
        self.denoise_seconds: list[float] = []
        config = self._config = model.transformer.config
        self._plans = plans
        frame_poses = np.stack([session_poses(case) for case in cases])
        length = (frame_poses.shape[1] - 1) // TEMPORAL_STRIDE + 1
        self._told = Told(
            model,
            _on_device(frame_poses[:, ::TEMPORAL_STRIDE], model),
            _all_windows(cases, length, model),
            torch.cat([model.encode_prompt(case.prompt) for case in cases]),
        )
        self._past: Past = (CommittedPast if config.commits else JoinedPast)(self._told)
        grid = (config.latent_channels, config.latent_height, config.latent_width)
        self.made = torch.zeros(len(cases), length, *grid, device=model.device)
        self.length = 0
        videos = [image_to_video(case.frames[0], model.frame_size) for case in cases]
        first = model.encoder(torch.cat(videos).to(model.device))[0]
        self._take(first, slice(0, 1), None)

    def advance(self, segment: int, generators: Sequence[torch.Generator]) -> None:
        """Generate and commit every walk's next segment."""
        new = slice(self.length, self.length + self._config.segment_latents)
        chosen = self._chosen(segment)
        given = self._given
        if given is not None and segment < given.num_segments:
            self._take(self._given_at(new), new, chosen)
            return
        began = time.perf_counter()
        velocity = self._past.velocity(new, chosen)
        start = None
        if given is not None and given.start_sigma < 1:
            start = self._given_at(new)
        made = self._solve(velocity, generators, start)
        self.wait()
        self.denoise_seconds.append(time.perf_counter() - began)
        self._take(made, new, chosen)

    def wait(self) -> None:
        """Return when the device has done what it was given."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)

    def _take(self, made: Float[Tensor, "B C T H W"], new: slice, chosen: Chosen | None) -> None:
        """Keep what was made, and commit it or what is given instead."""
        given = self._given
        instead = given is not None and (given.is_forced or not new.start)
        self.made[:, new] = made.transpose(1, 2)
        self._past.commit(self._given_at(new) if instead else made, new, chosen)
        self.length = new.stop

    def _given_at(self, new: slice) -> Float[Tensor, "B C T H W"]:
        assert self._given is not None
        return self._given.latents[:, new].transpose(1, 2).to(self.model.device)

    def _solve(
        self,
        velocity: Velocity,
        generators: Sequence[torch.Generator],
        start: Float[Tensor, "B C T H W"] | None,
    ) -> Float[Tensor, "B C T H W"]:
        """Return what the solver makes of each walk's own noise, or of a start with some of it."""
        sampler, config = self.model.sampler, self._config
        grid = (config.latent_channels, config.segment_latents)
        shape = (1, *grid, config.latent_height, config.latent_width)
        levels = sampler.sigmas
        noise = [torch.randn(shape, generator=each).to(self.model.device) for each in generators]
        if start is not None and self._given is not None:
            level = self._given.start_sigma
            levels = (level,)
            noise = [
                add_noise(start[row : row + 1], each, torch.full((1,), level).to(each.device))
                for row, each in enumerate(noise)
            ]
        sigmas = torch.tensor([*levels, 0.0])
        solvers: list[Solver] = [make_solver(sampler.solver, sigmas) for _ in generators]
        states = [SolverState(each) for each in noise]
        for level in levels:
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

    def _chosen(self, segment: int) -> Chosen:
        latents, is_valid = (
            torch.from_numpy(np.stack(rows)).to(self.model.device)
            for rows in (
                [plan.chosen[segment] for plan in self._plans],
                [plan.is_valid[segment] for plan in self._plans],
            )
        )
        return Chosen(latents, is_valid)


def _all_windows(cases: Sequence[Clip], length: int, model: WorldModel) -> Windows:
    at = torch.arange(length).expand(len(cases), -1)
    width = model.transformer.config.action_window_frames
    keyboard, mouse = (
        action_windows(torch.from_numpy(np.stack(rows)), at, width).to(model.device)
        for rows in ([c.keyboard for c in cases], [c.mouse for c in cases])
    )
    return keyboard, mouse


def _on_device(poses: FloatArray, model: WorldModel) -> Float[Tensor, "B L 4 4"]:
    return torch.from_numpy(np.ascontiguousarray(poses)).float().to(model.device)
