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
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from worldloom.config import JsonValue, digest_of, resolved
from worldloom.data.latents import LatentClips
from worldloom.diffusion.from_host import to_device
from worldloom.diffusion.schedule import add_noise, sample_sigma, velocity_to_x0
from worldloom.distill.config import DistillationConfig
from worldloom.distill.draws import Draws
from worldloom.distill.scored_segments import Scored, ScoredSegments
from worldloom.distill.self_forcing import generate_with_gradient
from worldloom.errors import TrainingError
from worldloom.log import log_event
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.checkpoint import (
    CHECKPOINT_NAME,
    TrainingCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from worldloom.train.clip_context import SegmentedClips
from worldloom.train.flow_batch import ClipSet
from worldloom.train.learner import Learner
from worldloom.train.run_control import (
    Pace,
    StopRequest,
    deterministic_arithmetic,
    step_generator,
)
from worldloom.train.same_run import require_same_settings
from worldloom.train.self_rollout import (
    RecordedVelocities,
    SegmentView,
    VelocityOf,
    roll_out,
    velocity_of,
)
from worldloom.train.share import num_processes
from worldloom.train.tracking import Tracker, prefixed
from worldloom.train.velocity import compile_blocks

logger = logging.getLogger(__name__)

Report = Callable[[int, int, Mapping[str, float]], None]

_STUDENT, _CRITIC = "student.", "critic."
# Settings that say how long, how often or how fast, and not what is learnt.
_MAY_CHANGE = (
    *("distillation.num_steps", "distillation.checkpoint_every_steps", "distillation.compilation"),
    *("distillation.log_every_steps", "distillation.num_threads", "distillation.deterministic"),
)
_HELD_OUT_SEED = 20_000


class Distillation:
    """One distillation run over latent clips."""

    def __init__(
        self,
        config: DistillationConfig,
        *,
        teacher: WorldModelTransformer,
        student: WorldModelTransformer,
        train: LatentClips | ClipSet,
        held_out: LatentClips,
        retrieval: RetrievalConfig,
        critic: WorldModelTransformer | None = None,
    ) -> None:
        """Prepare the three roles; the critic starts as the teacher unless one is given."""
        self.config = config
        shape = teacher.config
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.student = student
        self.critic = critic if critic is not None else copy.deepcopy(teacher)
        self.critic.requires_grad_(requires_grad=True)
        self.conditioner = Conditioner(shape, train.intrinsics)
        self.train: ClipSet = (
            SegmentedClips(train, shape, retrieval) if isinstance(train, LatentClips) else train
        )
        self.held_out = SegmentedClips(held_out, shape, retrieval)
        is_recorded = config.compilation in ("recorded", "recorded_blocks")
        self._velocity_of: VelocityOf = RecordedVelocities() if is_recorded else velocity_of
        self.segments = ScoredSegments(config, self.train, self.conditioner, self._velocity_of)
        self.history: list[dict[str, float]] = []
        self._saved_step = -1
        if config.compilation in ("blocks", "recorded_blocks"):
            for network in (self.teacher, self.student, self.critic):
                compile_blocks(network)  # the three share what is compiled, being alike

    def run(
        self,
        folder: Path,
        tracker: Tracker,
        report: Report | None = None,
        pace: Pace | None = None,
    ) -> dict[str, Tensor]:
        """Distil to the last step, resuming from `folder`; return the student's averaged state.

        A pace may end the run before, with a checkpoint, and scales both learning rates.

        Raises:
            TrainingError: for a loss that is not finite (naming the clips; the last checkpoint
                stays), a checkpoint that does not fit or is of other settings, a SIGTERM (after
                saving), or several processes.
        """
        require_alone(num_processes())
        config = self.config
        with (
            deterministic_arithmetic(enabled=config.deterministic, num_threads=config.num_threads),
            StopRequest() as stop,
        ):
            student = Learner(self.student, config.student)
            critic = Learner(self.critic, config.critic)
            self.teacher.to(student.device)
            self._resume(folder, student, critic)
            while student.num_steps < config.num_steps:
                if pace is not None:
                    student.rate_scale = critic.rate_scale = pace.rate_scale()
                self._step(student, critic, tracker, report)
                is_over = pace is not None and pace.is_over()
                is_last = student.num_steps == config.num_steps or is_over or stop.is_set
                if is_last or student.num_steps % config.checkpoint_every_steps == 0:
                    self._save(folder, student, critic)
                if is_over:
                    break
                if stop.is_set and student.num_steps < config.num_steps:
                    message = (
                        f"stopped by SIGTERM after update {student.num_steps} of "
                        f"{config.num_steps}; the checkpoint is saved, run again to go on from it"
                    )
                    raise TrainingError(message)
            return student.module_state()

    @property
    def settings(self) -> dict[str, JsonValue]:
        """What makes this run another than one of other settings."""
        ids: list[JsonValue] = list(self.train.clip_ids)
        return {
            "distillation": resolved(self.config),
            "transformer": resolved(self.student.config),
            "clips": digest_of(ids),
        }

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

    def _step(
        self, student: Learner, critic: Learner, tracker: Tracker, report: Report | None
    ) -> None:
        started = time.perf_counter()
        row = self._update(student, critic)
        self.history.append(row)
        if student.num_steps % self.config.log_every_steps:
            return
        told = {**row, "update_seconds": time.perf_counter() - started}
        tracker.log_metrics(prefixed(told, "distillation"), student.num_steps)
        if report is not None:
            report(student.num_steps, self.config.num_steps, told)

    def _update(self, student: Learner, critic: Learner) -> dict[str, float]:
        draws = self._draws(student.num_steps)
        row: dict[str, float] = {}
        for _ in range(self.config.critic_updates_per_student_update):
            row["critic_loss"] = self._update_critic(critic, draws)
        scored = self._scored_segment(draws)
        losses: dict[str, float] = {}
        loss = student.compute(
            lambda: self._student_loss(scored.view, scored.recorded, draws, losses)
        )
        row["student_loss"] = self._finite("student", loss, scored)
        row["student_gradient_norm"] = student.step(loss)
        return row | losses

    def _draws(self, step: int) -> Draws:
        generator = step_generator(self.config.seed, step)
        if self.config.draws_noise_on_device:
            return Draws.with_noise_on(self._device, generator)
        return Draws.of_host(generator)

    def _update_critic(self, critic: Learner, draws: Draws) -> float:
        scored = self._scored_segment(draws)
        loss = critic.compute(lambda: self._critic_loss(scored.view, scored.recorded.shape, draws))
        value = self._finite("critic", loss, scored)
        critic.step(loss)
        return value

    def _scored_segment(self, draws: Draws) -> Scored:
        return self.segments.next(self.student, self._device, draws)

    def _critic_loss(self, view: SegmentView, shape: torch.Size, draws: Draws) -> Tensor:
        with torch.no_grad():
            velocity = self._velocity_of(self.student, self.conditioner, view)
            made = generate_with_gradient(
                velocity, tuple(shape), self.config.sampler, draws, self._device
            ).detach()
        sigma = self._score_sigma(len(made), draws.choices)
        noise = draws.normal(tuple(made.shape), self._device)
        predicted = self._velocity_of(self.critic, self.conditioner, view)(
            add_noise(made, noise, sigma), sigma
        )
        return (predicted - (noise - made)).square().mean()

    def _student_loss(
        self,
        view: SegmentView,
        recorded: Tensor,
        draws: Draws,
        losses: dict[str, float],
    ) -> Tensor:
        velocity = self._velocity_of(self.student, self.conditioner, view)
        made = generate_with_gradient(
            velocity, tuple(recorded.shape), self.config.sampler, draws, self._device
        )
        target = self._matched(made.detach(), view, draws)
        matching = 0.5 * (made - target).square().mean()
        regression = (made - recorded).square().mean()
        losses["matching_loss"] = float(matching.detach())
        losses["regression_loss"] = float(regression.detach())
        return matching + self.config.regression_weight * regression

    @torch.no_grad()
    def _matched(self, made: Tensor, view: SegmentView, draws: Draws) -> Tensor:
        """Return made minus the normalised difference of the two scores (DMD eq. 7, 8)."""
        sigma = self._score_sigma(len(made), draws.choices)
        noise = draws.normal(tuple(made.shape), self._device)
        noisy = add_noise(made, noise, sigma)
        of_teacher, of_critic = (
            velocity_to_x0(
                noisy, self._velocity_of(network, self.conditioner, view)(noisy, sigma), sigma
            )
            for network in (self.teacher, self.critic)
        )
        scale = (made - of_teacher).abs().flatten(1).mean(dim=1).clamp_min(1e-4)
        return made - (of_critic - of_teacher) / scale.view(-1, 1, 1, 1, 1)

    def _score_sigma(self, count: int, generator: torch.Generator) -> Tensor:
        low, high = self.config.min_sigma, self.config.max_sigma
        sigma = sample_sigma(count, self.config.teacher_steps_shift, generator, low=low, high=high)
        return to_device(sigma, self._device)

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
        saved = checkpoint.values.get("settings")
        require_same_settings(
            folder / CHECKPOINT_NAME,
            saved if isinstance(saved, dict) else {},
            self.settings,
            may_change=_MAY_CHANGE,
        )
        for prefix, learner in ((_STUDENT, student), (_CRITIC, critic)):
            learner.load_state_tensors(
                {
                    name.removeprefix(prefix): value
                    for name, value in checkpoint.tensors.items()
                    if name.startswith(prefix)
                }
            )
        self.segments.load_state_tensors(checkpoint.tensors)
        self.history = [_row(row) for row in _list(checkpoint.values["history"])]
        self._saved_step = student.num_steps
        log_event(logger, "distillation_resumed", step=student.num_steps)

    def _save(self, folder: Path, student: Learner, critic: Learner) -> None:
        tensors = {
            f"{prefix}{name}": value
            for prefix, learner in ((_STUDENT, student), (_CRITIC, critic))
            for name, value in learner.state_tensors().items()
        }
        tensors |= self.segments.state_tensors()
        history: list[JsonValue] = [dict(row) for row in self.history]
        values: dict[str, JsonValue] = {"settings": self.settings, "history": history}
        save_checkpoint(folder, TrainingCheckpoint(tensors, values))
        self._saved_step = student.num_steps

    def _finite(self, role: str, loss: Tensor, scored: Scored) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            clips = ", ".join(sorted(set(scored.clip_ids)))
            message = (
                f"distillation: the {role}'s loss is {value}, expected a finite number; clips of "
                f"the batch: {clips}"
            )
            if self._saved_step >= 0:
                message += f"; the checkpoint of update {self._saved_step} stays"
            raise TrainingError(message)
        return value


def require_alone(count: int) -> None:
    """Refuse several processes: rollouts are not split, so each would compute the whole batch."""
    if count > 1:
        message = (
            f"distillation on {count} processes: expected one, since self-rollouts are not split "
            "over processes; run other seeds beside it instead"
        )
        raise TrainingError(message)


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
