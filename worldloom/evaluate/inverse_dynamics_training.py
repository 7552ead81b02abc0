"""Teaches the inverse-dynamics network on recordings of worlds that no case stands in.

Windows are drawn from whole clips; half are mirrored (left and right change places), half run
backwards (so do ahead and back, left and right, and the turn), and some are blurred and grained, so
that a soft film is not read as a still one. It does not know the films that it will read.

Letters: N windows, F frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from worldloom.config import Config
from worldloom.data.schema import Clip
from worldloom.data.sources.procedural import capture_clip as capture_procedural
from worldloom.evaluate.controllability import blur
from worldloom.evaluate.inverse_dynamics import (
    NUM_KEYS,
    InverseDynamics,
    InverseDynamicsConfig,
    film_windows,
    luminance,
    true_motion,
)
from worldloom.evaluate.protocol import CasesConfig

# Train-split seeds that a capture never reaches: it ends below 1000 x 100,000.
_FIRST_SEED = 700_000_000
# Columns of the answer: ahead, back, left, right; what they become in a mirror and backwards.
_MIRRORED, _BACKWARDS = (0, 1, 3, 2), (1, 0, 3, 2)
_MAX_BLUR_PIXELS = 1.5
_GRAIN = 0.02


class InverseDynamicsTraining(Config):
    """How long and on how much it learns."""

    num_clips: int = Field(60, ge=1, description="recordings to learn on")
    clip_frames: int = Field(97, ge=9, description="frames of a recording, 4n+1")
    num_steps: int = Field(600, ge=1, description="optimiser steps")
    batch_size: int = Field(96, ge=1, description="windows a step")
    learning_rate: float = Field(2e-3, gt=0, description="highest rate of AdamW")
    seed: int = Field(0, ge=0, description="seed of weights, draws and recordings")


def record_lessons(cases: CasesConfig, training: InverseDynamicsTraining) -> list[Clip]:
    """Return recordings of the cases' world at their size, from train worlds or maps."""
    return [record_lesson(cases, training, index) for index in range(training.num_clips)]


def record_lesson(cases: CasesConfig, training: InverseDynamicsTraining, index: int) -> Clip:
    """Return one of the recordings."""
    seed = _FIRST_SEED + training.seed * 1_000_000 + index
    if cases.world == "procedural":
        return capture_procedural(
            cases.procedural, seed=seed, split="train", num_frames=training.clip_frames
        )
    from worldloom.data.sources.vizdoom import DoomEngine, capture_clip

    maps = cases.vizdoom.train_maps
    with DoomEngine(cases.vizdoom) as engine:
        return capture_clip(
            cases.vizdoom,
            map_name=maps[index % len(maps)],
            seed=seed,
            split="train",
            num_frames=training.clip_frames,
            engine=engine,
        )


def train_inverse_dynamics(
    clips: Sequence[Clip],
    config: InverseDynamicsConfig,
    training: InverseDynamicsTraining,
    *,
    speed_metres: float,
    device: torch.device,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> InverseDynamics:
    """Return a network that has learnt to read the clips' steps.

    Args:
        clips: recordings with exact poses.
        config: shape of the network.
        training: how long and on how much.
        speed_metres: metres of a step with one key held.
        device: where to compute.
        report: told steps done and in all.
    """
    generator = torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = InverseDynamics(config).to(device).train()
    windows, answers = (part.to(device) for part in _lessons(clips, config, speed_metres))
    grain = generator  # of the device: drawn on a CPU it would take longer than learning
    if device.type != "cpu":
        grain = torch.Generator(device).manual_seed(training.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=training.learning_rate, total_steps=training.num_steps
    )
    for step in range(training.num_steps):
        rows = torch.randint(len(windows), (training.batch_size,), generator=generator)
        rows = rows.to(device)
        seen, told = _varied(windows[rows], answers[rows], generator, grain)
        loss = _loss(network(seen), told)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        report(step + 1, training.num_steps)
    return network.eval()


def _lessons(
    clips: Sequence[Clip], config: InverseDynamicsConfig, speed_metres: float
) -> tuple[Float[Tensor, "N 6 H W"], Float[Tensor, "N 5"]]:
    windows, answers = [], []
    for clip in clips:
        windows.append(film_windows(luminance(clip.frames, config)))
        motion = true_motion(clip.poses_c2w.astype(float), speed_metres)
        turn = torch.from_numpy(motion.turn_degrees / config.turn_scale_degrees)[:, None]
        answers.append(torch.cat([torch.from_numpy(motion.keys), turn], dim=1).float())
    return torch.cat(windows), torch.cat(answers)


def _varied(
    windows: Float[Tensor, "N 6 H W"],
    answers: Float[Tensor, "N 5"],
    generator: torch.Generator,
    grain: torch.Generator,
) -> tuple[Float[Tensor, "N 6 H W"], Float[Tensor, "N 5"]]:
    """Mirror, turn back in time, blur and grain some windows, and say what they then show."""
    keys, turn = answers[:, :NUM_KEYS], answers[:, NUM_KEYS:]
    for axis, order in ((3, _MIRRORED), (1, _BACKWARDS)):
        is_chosen = (torch.rand(len(windows), generator=generator) < 0.5).to(windows.device)
        windows = torch.where(is_chosen[:, None, None, None], windows.flip(axis), windows)
        keys = torch.where(is_chosen[:, None], keys[:, list(order)], keys)
        turn = torch.where(is_chosen[:, None], -turn, turn)
    if torch.rand((), generator=generator) < 0.5:
        sigma = 0.3 + _MAX_BLUR_PIXELS * float(torch.rand((), generator=generator))
        windows = blur(windows, sigma)
    strength = _GRAIN * float(torch.rand((), generator=generator))
    noise = torch.randn(windows.shape, generator=grain, device=grain.device)
    windows = windows + strength * noise
    return windows, torch.cat([keys, turn], dim=1)


def _loss(answers: Float[Tensor, "N 5"], told: Float[Tensor, "N 5"]) -> Tensor:
    keys = functional.binary_cross_entropy_with_logits(answers[:, :NUM_KEYS], told[:, :NUM_KEYS])
    turn = functional.smooth_l1_loss(answers[:, NUM_KEYS], told[:, NUM_KEYS], beta=0.1)
    return keys + turn
