"""Multi-segment distribution matching distillation: a few-step student from a many-step teacher.

Roles: the student generates; the teacher (frozen) knows the data's score; the critic learns the
student's score (the papers' generator, real score and fake score). On the last segment of a
self-rollout the student follows
    grad = (x0_critic - x0_teacher) / mean |x - x0_teacher|    (DMD eq. 7 and 8, per sample),
both estimates taken at a fresh noise level of the student's output under the same conditions. The
critic is trained by flow matching on the student's output. It does not know pipelines.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from worldloom.config import JsonValue
from worldloom.data.latents import LatentClips
from worldloom.diffusion.schedule import add_noise, sample_sigma, velocity_to_x0
from worldloom.distill.config import DistillationConfig
from worldloom.distill.self_forcing import (
    SegmentView,
    generate_with_gradient,
    roll_out,
    velocity_of,
    view_segment,
)
from worldloom.errors import TrainingError
from worldloom.log import log_event
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.checkpoint import TrainingCheckpoint, load_checkpoint, save_checkpoint
from worldloom.train.clip_context import SegmentedClips, segment_start
from worldloom.train.learner import Learner
from worldloom.train.tracking import Tracker, prefixed
from worldloom.train.trainer import deterministic_arithmetic, step_generator

logger = logging.getLogger(__name__)

Report = Callable[[int, int, Mapping[str, float]], None]

_STUDENT, _CRITIC = "student.", "critic."
_HELD_OUT_SEED = 20_000


class Distillation:
    """One distillation run over latent clips."""

    def __init__(
        self,
        config: DistillationConfig,
        *,
        teacher: WorldModelTransformer,
        student: WorldModelTransformer,
        train: LatentClips,
        held_out: LatentClips,
        retrieval: RetrievalConfig,
    ) -> None:
        """Prepare the three roles; the critic starts as the teacher."""
        self.config = config
        shape = teacher.config
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.student = student
        self.critic = copy.deepcopy(teacher).requires_grad_(requires_grad=True)
        self.conditioner = Conditioner(shape, train.intrinsics)
        self.train = SegmentedClips(train, shape, retrieval)
        self.held_out = SegmentedClips(held_out, shape, retrieval)
        self.history: list[dict[str, float]] = []

    def run(
        self, folder: Path, tracker: Tracker, report: Report | None = None
    ) -> dict[str, Tensor]:
        """Distil to the last step, resuming from `folder`; return the student's averaged state.

        Raises:
            TrainingError: for a loss that is not finite or a checkpoint that does not fit.
        """
        with deterministic_arithmetic(enabled=True, num_threads=self.config.num_threads):
            student = Learner(self.student, self.config.student)
            critic = Learner(self.critic, self.config.critic)
            self.teacher.to(student.device)
            self._resume(folder, student, critic)
            while student.num_steps < self.config.num_steps:
                row = self._update(student, critic)
                self.history.append(row)
                tracker.log_metrics(prefixed(row, "distillation"), student.num_steps)
                if report is not None:
                    report(student.num_steps, self.config.num_steps, row)
                is_last = student.num_steps == self.config.num_steps
                if is_last or student.num_steps % self.config.checkpoint_every_steps == 0:
                    self._save(folder, student, critic)
            return student.module_state()

    @torch.no_grad()
    def rollout_error(self, network: WorldModelTransformer, num_segments: int) -> float:
        """Return the mean squared latent error of few-step rollouts on held-out clips."""
        generator = torch.Generator().manual_seed(_HELD_OUT_SEED)
        rows = torch.arange(min(len(self.held_out), 16))
        batch = self.held_out.batch(rows).to(self._device)
        count = min(num_segments, self.held_out.num_segments)
        made = roll_out(
            network, self.conditioner, batch, range(count), self.config.sampler, generator
        )
        last = 1 + count * network.config.segment_latents
        return float((made[:, 1:last] - batch.latents[:, 1:last]).square().mean())

    def _update(self, student: Learner, critic: Learner) -> dict[str, float]:
        generator = step_generator(self.config.seed, student.num_steps)
        row: dict[str, float] = {}
        for _ in range(self.config.critic_updates_per_student_update):
            row["critic_loss"] = self._update_critic(critic, generator)
        view, recorded = self._scored_segment(generator)
        losses: dict[str, float] = {}
        loss = student.compute(lambda: self._student_loss(view, recorded, generator, losses))
        row["student_loss"] = _finite("student", loss)
        row["student_gradient_norm"] = student.step(loss)
        return row | losses

    def _update_critic(self, critic: Learner, generator: torch.Generator) -> float:
        view, recorded = self._scored_segment(generator)
        loss = critic.compute(lambda: self._critic_loss(view, recorded.shape, generator))
        value = _finite("critic", loss)
        critic.step(loss)
        return value

    def _scored_segment(self, generator: torch.Generator) -> tuple[SegmentView, Tensor]:
        """Roll the student out and return the view of the segment to score, and its recording."""
        config, size = self.config, self.student.config.segment_latents
        count = min(config.max_segments, self.train.num_segments)
        length = 1 + int(torch.randint(0, count, (), generator=generator))
        first = int(torch.randint(0, self.train.num_segments - length + 1, (), generator=generator))
        rows = torch.randint(0, len(self.train), (config.batch_clips,), generator=generator)
        batch = self.train.batch(rows).to(self._device)
        last = first + length - 1
        latents = roll_out(
            self.student, self.conditioner, batch, range(first, last), config.sampler, generator
        )
        hidden = torch.rand(len(rows), generator=generator) < config.hide_context_probability
        view = view_segment(batch, latents, last, size, hidden.to(self._device))
        start = segment_start(last, self.student.config)
        return view, batch.latents[:, start : start + size].transpose(1, 2)

    def _critic_loss(
        self, view: SegmentView, shape: torch.Size, generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            velocity = velocity_of(self.student, self.conditioner, view)
            made = generate_with_gradient(
                velocity, tuple(shape), self.config.sampler, generator, self._device
            ).detach()
        sigma = self._score_sigma(len(made), generator)
        noise = torch.randn(made.shape, generator=generator).to(self._device)
        predicted = velocity_of(self.critic, self.conditioner, view)(
            add_noise(made, noise, sigma), sigma
        )
        return (predicted - (noise - made)).square().mean()

    def _student_loss(
        self,
        view: SegmentView,
        recorded: Tensor,
        generator: torch.Generator,
        losses: dict[str, float],
    ) -> Tensor:
        velocity = velocity_of(self.student, self.conditioner, view)
        made = generate_with_gradient(
            velocity, tuple(recorded.shape), self.config.sampler, generator, self._device
        )
        target = self._matched(made.detach(), view, generator)
        matching = 0.5 * (made - target).square().mean()
        regression = (made - recorded).square().mean()
        losses["matching_loss"] = float(matching.detach())
        losses["regression_loss"] = float(regression.detach())
        return matching + self.config.regression_weight * regression

    @torch.no_grad()
    def _matched(self, made: Tensor, view: SegmentView, generator: torch.Generator) -> Tensor:
        """Return made minus the normalised difference of the two scores (DMD eq. 7, 8)."""
        sigma = self._score_sigma(len(made), generator)
        noise = torch.randn(made.shape, generator=generator).to(self._device)
        noisy = add_noise(made, noise, sigma)
        of_teacher, of_critic = (
            velocity_to_x0(noisy, velocity_of(network, self.conditioner, view)(noisy, sigma), sigma)
            for network in (self.teacher, self.critic)
        )
        scale = (made - of_teacher).abs().flatten(1).mean(dim=1).clamp_min(1e-4)
        return made - (of_critic - of_teacher) / scale.view(-1, 1, 1, 1, 1)

    def _score_sigma(self, count: int, generator: torch.Generator) -> Tensor:
        low, high = self.config.min_sigma, self.config.max_sigma
        sigma = sample_sigma(count, self.config.teacher_steps_shift, generator, low=low, high=high)
        return sigma.to(self._device)

    @property
    def _device(self) -> torch.device:
        """Where the student learns; the conditioner's ray grids follow it."""
        device = self.student.patch_embed.weight.device
        self.conditioner.to(device)
        return device

    def _resume(self, folder: Path, student: Learner, critic: Learner) -> None:
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return
        for prefix, learner in ((_STUDENT, student), (_CRITIC, critic)):
            learner.load_state_tensors(
                {
                    name.removeprefix(prefix): value
                    for name, value in checkpoint.tensors.items()
                    if name.startswith(prefix)
                }
            )
        self.history = [_row(row) for row in _list(checkpoint.values["history"])]
        log_event(logger, "distillation_resumed", step=student.num_steps)

    def _save(self, folder: Path, student: Learner, critic: Learner) -> None:
        tensors = {
            f"{prefix}{name}": value
            for prefix, learner in ((_STUDENT, student), (_CRITIC, critic))
            for name, value in learner.state_tensors().items()
        }
        history: list[JsonValue] = [dict(row) for row in self.history]
        save_checkpoint(folder, TrainingCheckpoint(tensors, {"history": history}))


def _finite(role: str, loss: Tensor) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        message = f"distillation: the {role}'s loss is {value}, expected a finite number"
        raise TrainingError(message)
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        message = "the checkpoint's history is no list of rows"
        raise TrainingError(message)
    return value


def _row(value: JsonValue) -> dict[str, float]:
    if not isinstance(value, dict):
        message = "the checkpoint's history holds a row that is no object"
        raise TrainingError(message)
    return {
        name: float(number) for name, number in value.items() if isinstance(number, int | float)
    }
