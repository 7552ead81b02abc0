"""The training loop: steps, checkpoints, held-out evaluation, speed, a clean stop.

A step's draws follow from (seed, step) alone and the checkpoint holds everything else, so a run
that was killed and started again ends in the same bits as one that was left alone. All processes
draw whole batches alike and compute their own rows, agree on every step whether to stop, and share
one checkpoint, so another number of them may go on. It does not know what is trained: an
`Objective` brings the module and its loss.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from worldloom.config import JsonValue, resolved
from worldloom.errors import TrainingError
from worldloom.log import log_event
from worldloom.train.checkpoint import (
    CHECKPOINT_NAME,
    TrainingCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from worldloom.train.config import TrainerConfig
from worldloom.train.learner import Learner
from worldloom.train.objective import Described, DrawsAhead, Objective, StatefulObjective
from worldloom.train.prefetch import Prefetch
from worldloom.train.run_control import Pace, StopRequest, deterministic_arithmetic, step_generator
from worldloom.train.same_run import require_same_settings
from worldloom.train.share import averaged, num_processes, rank
from worldloom.train.speed import Speedometer, peak_flops
from worldloom.train.tracking import NullTracker, Tracker, prefixed

__all__ = [
    "Objective",
    "StatefulObjective",
    "Trainer",
    "TrainerConfig",
    "TrainingResult",
    "deterministic_arithmetic",
    "step_generator",
]

logger = logging.getLogger(__name__)

_OBJECTIVE = "objective."
_MOST_NAMES = 64
_LOG_SECONDS = 10.0
# Settings that say how long, how often or how fast, and not what is learnt.
_MAY_CHANGE = (
    *(f"trainer.{name}" for name in ("num_steps", "checkpoint_every_steps", "deterministic")),
    *(f"trainer.{name}" for name in ("evaluate_every_steps", "log_every_steps", "num_threads")),
    *(f"trainer.{name}" for name in ("prefetch_steps", "learner.zero_stage")),
    "trainer.learner.micro_batch_size",
)

Report = Callable[[int, int, Mapping[str, float]], None]
HistoryRow = dict[str, float]


@dataclass
class TrainingResult:
    """What a run leaves: the learner and the measured values of its steps."""

    learner: Learner
    history: list[HistoryRow] = field(default_factory=list)
    evaluations: list[HistoryRow] = field(default_factory=list)
    speed: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Run an objective's steps from wherever the folder's checkpoint stands."""

    def __init__(self, config: TrainerConfig) -> None:
        """Keep the settings; nothing starts before `run`."""
        self.config = config

    def run(
        self,
        objective: Objective,
        *,
        folder: Path,
        tracker: Tracker | None = None,
        report: Report | None = None,
        pace: Pace | None = None,
    ) -> TrainingResult:
        """Train to the last step and return the result.

        Args:
            objective: what is trained.
            folder: where the checkpoint is and is kept; a finished run is returned as it is.
            tracker: where metrics go.
            report: told step, number of steps and values as often as metrics are logged.
            pace: ends the run before its last step, with a checkpoint; scales its rate.

        Raises:
            TrainingError: for a loss or gradient that is not finite (naming the batch; the last
                checkpoint stays), a checkpoint that does not fit or is of other settings, or a
                SIGTERM to any process (after saving at the step's end).
        """
        config = self.config
        with (
            deterministic_arithmetic(enabled=config.deterministic, num_threads=config.num_threads),
            StopRequest() as stop,
        ):
            run = _Run(config, objective, folder, tracker or NullTracker(), report)
            run.resume()
            with run.batches() as batches:
                while run.step < config.num_steps:
                    run.train_step(batches, is_stopped=stop.is_set_now, pace=pace)
                    if run.is_stopped and run.step < config.num_steps:
                        run.save()
                        message = (
                            f"stopped by SIGTERM after step {run.step} of {config.num_steps}; the "
                            "checkpoint is saved, run again to go on from it"
                        )
                        raise TrainingError(message)
                    if run.is_enough:
                        run.finish_early()
                        break
            return run.result


class _Run:
    """One run's state: the learner, the step, the history."""

    def __init__(
        self,
        config: TrainerConfig,
        objective: Objective,
        folder: Path,
        tracker: Tracker,
        report: Report | None,
    ) -> None:
        self.config, self.objective, self.folder = config, objective, folder
        self.tracker, self.report = tracker, report
        self.result = TrainingResult(Learner(objective.module, config.learner))
        self.rank = rank()
        self.saved_step = -1
        self.logged = float("-inf")
        self.is_stopped = self.is_enough = False
        flops, samples = 0.0, 1
        if isinstance(objective, Described):
            flops, samples = objective.flops_per_step, objective.samples_per_step
        peak = peak_flops(self.result.learner.device) if flops else 0.0
        self.speed = Speedometer(flops, samples, peak)

    @property
    def step(self) -> int:
        return self.result.learner.num_steps

    @property
    def settings(self) -> dict[str, JsonValue]:
        """What makes this run another than one of other settings."""
        values: dict[str, JsonValue] = {"trainer": resolved(self.config)}
        if isinstance(self.objective, Described):
            values["objective"] = dict(self.objective.settings())
        return values

    def batches(self) -> Prefetch:
        """Return the steps' batches from the present step on."""
        config, objective = self.config, self.objective
        draws = isinstance(objective, DrawsAhead)
        return Prefetch(
            objective.draw if isinstance(objective, DrawsAhead) else _nothing,
            lambda step: step_generator(config.seed, step),
            range(self.step, config.num_steps),
            num_ahead=config.prefetch_steps if draws else 0,
        )

    def resume(self) -> None:
        checkpoint = load_checkpoint(self.folder)
        params = {
            "num_steps": self.config.num_steps,
            "seed": self.config.seed,
            "num_threads": torch.get_num_threads(),
            "num_processes": num_processes(),
        }
        self.tracker.log_params(params)
        if checkpoint is None:
            log_event(logger, "training_started", **params)
            self.evaluate()
            return
        saved = checkpoint.values.get("settings")
        require_same_settings(
            self.folder / CHECKPOINT_NAME,
            saved if isinstance(saved, dict) else {},
            self.settings,
            may_change=_MAY_CHANGE,
        )
        own = {
            name.removeprefix(_OBJECTIVE): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(_OBJECTIVE)
        }
        if isinstance(self.objective, StatefulObjective):
            self.objective.load_state_tensors(own)
        learned = {n: v for n, v in checkpoint.tensors.items() if not n.startswith(_OBJECTIVE)}
        self.result.learner.load_state_tensors(learned)
        self.result.history = _rows(checkpoint.values["history"])
        self.result.evaluations = _rows(checkpoint.values["evaluations"])
        self.saved_step = self.step
        log_event(logger, "training_resumed", step=self.step, **params)

    def train_step(
        self, batches: Prefetch, *, is_stopped: Callable[[], bool], pace: Pace | None
    ) -> None:
        started = time.perf_counter()
        learner, step = self.result.learner, self.step
        if pace is not None:
            learner.rate_scale = pace.rate_scale()
        drawn = batches.take()
        values: dict[str, float] = {}

        def compute() -> Tensor:
            loss, extra = self._loss(drawn.batch, step, drawn.generator)
            values.update(extra)
            return loss

        if not self.objective.module.training:
            self.objective.module.train()
        loss = learner.backward(learner.compute(compute))
        told = {
            "stop": float(is_stopped()),
            "enough": float(pace is not None and pace.is_over()),
            "loss": loss,
            **values,
        }
        told = averaged(told, learner.device)
        # Any process that was told to stop stops all of them, at this step.
        self.is_stopped, self.is_enough = told.pop("stop") > 0, told.pop("enough") > 0
        self._require_finite(step, "the loss", told["loss"], drawn.batch)
        rate = learner.learning_rate
        norm = learner.update()
        self._require_finite(step, "the gradient's norm", norm, drawn.batch)
        row = {"step": float(step), "loss": told["loss"], "gradient_norm": norm}
        self.result.history.append(row | {name: told[name] for name in values})
        seconds = time.perf_counter() - started
        self.speed.add(seconds, drawn.wait_seconds)
        self._tell(step, self.result.history[-1] | {"learning_rate": rate, "step_seconds": seconds})
        self._boundary()

    def finish_early(self) -> None:
        if self.speed.num_steps:
            self.result.speed = self.speed.read()
        self.evaluate()
        self.save()

    def evaluate(self) -> None:
        module = self.objective.module
        module.eval()
        with torch.no_grad(), self.result.learner.averaged_weights():
            values = dict(self.objective.evaluate())
        module.train()
        if values:
            self.result.evaluations.append({"step": float(self.step), **values})
            self.tracker.log_metrics(prefixed(values, "evaluation"), self.step)
            log_event(logger, "evaluated", step=self.step, values=values)

    def save(self) -> None:
        if self.saved_step == self.step:
            return
        tensors = self.result.learner.state_tensors()
        if isinstance(self.objective, StatefulObjective):
            own = self.objective.state_tensors()
            tensors |= {f"{_OBJECTIVE}{name}": value for name, value in own.items()}
        if self.rank == 0:
            values: dict[str, JsonValue] = {
                "settings": self.settings,
                "history": [dict(row) for row in self.result.history],
                "evaluations": [dict(row) for row in self.result.evaluations],
            }
            save_checkpoint(self.folder, TrainingCheckpoint(tensors, values))
        if num_processes() > 1:
            torch.distributed.barrier()
        self.saved_step = self.step

    def _boundary(self) -> None:
        config, step = self.config, self.step
        is_last = step == config.num_steps
        every = config.evaluate_every_steps
        if is_last or (every and step % every == 0):
            self.evaluate()
        if is_last or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
            self.save()

    def _loss(
        self, batch: object, step: int, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        if isinstance(self.objective, DrawsAhead):
            return self.objective.loss_of(batch, step, generator)
        return self.objective.loss(step, generator)

    def _require_finite(self, step: int, what: str, value: float, batch: object) -> None:
        if math.isfinite(value):
            return
        told = f"step {step}: {what} is {value}, expected a finite number"
        if isinstance(self.objective, DrawsAhead):
            told += f"; clips of the batch: {_listed(self.objective.names(batch))}"
        kept = f"the checkpoint of step {self.saved_step} stays" if self.saved_step >= 0 else ""
        log_event(logger, "training_diverged", logging.ERROR, step=step, saved=self.saved_step)
        raise TrainingError("; ".join(part for part in (told, kept) if part))

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        every = self.config.log_every_steps
        if self.rank or ((step + 1) % every and step + 1 != self.config.num_steps):
            return
        self.result.speed = self.speed.read()
        told = {name: value for name, value in values.items() if name != "step"}
        told |= self.result.speed
        self.tracker.log_metrics(prefixed(told, "train"), step)
        now = time.monotonic()
        if now - self.logged >= _LOG_SECONDS or step + 1 == self.config.num_steps:
            self.logged = now
            log_event(logger, "trained", step=step + 1, of=self.config.num_steps, values=told)
        if self.report is not None:
            self.report(step + 1, self.config.num_steps, {"step": float(step), **told})


def _nothing(_step: int, _generator: torch.Generator) -> None:
    """Draw nothing: the objective draws within its loss."""


def _listed(names: Sequence[str]) -> str:
    unique = sorted(set(names))
    more = f" and {len(unique) - _MOST_NAMES} more" if len(unique) > _MOST_NAMES else ""
    return ", ".join(unique[:_MOST_NAMES]) + more


def _rows(value: JsonValue) -> list[HistoryRow]:
    if not isinstance(value, list):
        message = f"the checkpoint's history is {type(value).__name__}, expected a list of rows"
        raise TrainingError(message)
    return [dict(row) for row in value if isinstance(row, dict)]  # type: ignore[arg-type]
