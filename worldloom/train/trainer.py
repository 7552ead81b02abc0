"""The training loop: steps, checkpoints, held-out evaluation, a clean stop.

A step's draws follow from (seed, step) alone and the checkpoint holds everything else, so a run
that was killed and started again ends in the same bits as one that was left alone. It does not
know what is trained: an `Objective` brings the module and its loss.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from worldloom.config import JsonValue
from worldloom.errors import TrainingError
from worldloom.log import log_event
from worldloom.train.checkpoint import (
    TrainingCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from worldloom.train.config import TrainerConfig
from worldloom.train.learner import Learner
from worldloom.train.tracking import NullTracker, Tracker, prefixed

__all__ = [
    "Objective",
    "StatefulObjective",
    "Trainer",
    "TrainerConfig",
    "TrainingResult",
    "step_generator",
]

logger = logging.getLogger(__name__)

_OBJECTIVE = "objective."

Report = Callable[[int, int, Mapping[str, float]], None]
HistoryRow = dict[str, float]


class Objective(Protocol):
    """What is trained, and by which loss."""

    @property
    def module(self) -> nn.Module:
        """The module whose parameters are updated."""

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the scalar loss of a step and values worth logging; draw from `generator`."""

    def evaluate(self) -> Mapping[str, float]:
        """Return held-out values of the module as it stands; no draw may differ between calls."""


@runtime_checkable
class StatefulObjective(Protocol):
    """An objective whose draws or loss depend on tensors of its own."""

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the module."""

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors`."""


@dataclass
class TrainingResult:
    """What a finished run leaves: the learner and the measured values of its steps."""

    learner: Learner
    history: list[HistoryRow] = field(default_factory=list)
    evaluations: list[HistoryRow] = field(default_factory=list)


def step_generator(seed: int, step: int, *, rank: int = 0) -> torch.Generator:
    """Return the CPU generator of a step's draws; it depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class StopRequest:
    """Turns SIGTERM into a wish to stop at the next boundary, for as long as it is entered."""

    def __init__(self) -> None:
        self.is_set = False
        self._previous: signal._HANDLER = None

    def __enter__(self) -> StopRequest:
        """Take the signal over, where this thread may."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


@contextlib.contextmanager
def deterministic_arithmetic(*, enabled: bool, num_threads: int = 0) -> Iterator[None]:
    """Fix torch's thread count and, where asked, refuse operations that depend on timing."""
    threads, was_enabled = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_enabled)
        torch.set_num_threads(threads)


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
    ) -> TrainingResult:
        """Train to the last step and return the learner and the history.

        Raises:
            TrainingError: for a loss that is not finite, a checkpoint that does not fit, or a
                SIGTERM (after saving at the step's end).
        """
        config = self.config
        with (
            deterministic_arithmetic(enabled=config.deterministic, num_threads=config.num_threads),
            StopRequest() as stop,
        ):
            run = _Run(config, objective, folder, tracker or NullTracker(), report)
            run.resume()
            while run.step < config.num_steps:
                run.train_step()
                if stop.is_set and run.step < config.num_steps:
                    run.save()
                    message = (
                        f"stopped by SIGTERM after step {run.step} of {config.num_steps}; the "
                        "checkpoint is saved, run again to go on from it"
                    )
                    raise TrainingError(message)
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
        self.rank = torch.distributed.get_rank()
        self.saved_step = -1

    @property
    def step(self) -> int:
        return self.result.learner.num_steps

    def resume(self) -> None:
        checkpoint = load_checkpoint(self.folder)
        params = {
            "num_steps": self.config.num_steps,
            "seed": self.config.seed,
            "num_threads": torch.get_num_threads(),
            "num_processes": torch.distributed.get_world_size(),
        }
        self.tracker.log_params(params)
        if checkpoint is None:
            log_event(logger, "training_started", **params)
            self.evaluate()
            return
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

    def train_step(self) -> None:
        started = time.perf_counter()
        learner, step = self.result.learner, self.step
        generator = step_generator(self.config.seed, step, rank=self.rank)
        values: dict[str, float] = {}

        def compute() -> Tensor:
            loss, extra = self.objective.loss(step, generator)
            values.update(extra)
            return loss

        self.objective.module.train()
        loss = learner.compute(compute)
        loss_value = float(loss.detach().item())
        if not math.isfinite(loss_value):
            message = f"step {step}: the loss is {loss_value}, expected a finite number"
            raise TrainingError(message)
        rate = learner.learning_rate
        norm = learner.step(loss)
        row = {"step": float(step), "loss": loss_value, "gradient_norm": norm, **values}
        self.result.history.append(row)
        seconds = time.perf_counter() - started
        self._tell(step, row | {"learning_rate": rate, "step_seconds": seconds})
        self._boundary()

    def _boundary(self) -> None:
        config, step = self.config, self.step
        is_last = step == config.num_steps
        every = config.evaluate_every_steps
        if is_last or (every and step % every == 0):
            self.evaluate()
        if is_last or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
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
                "history": [dict(row) for row in self.result.history],
                "evaluations": [dict(row) for row in self.result.evaluations],
            }
            save_checkpoint(self.folder, TrainingCheckpoint(tensors, values))
        torch.distributed.barrier()
        self.saved_step = self.step

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        if self.rank:
            return
        self.tracker.log_metrics(
            prefixed(
                {name: value for name, value in values.items() if name != "step"},
                "train",
            ),
            step,
        )
        if self.report is not None:
            self.report(step + 1, self.config.num_steps, values)


def _rows(value: JsonValue) -> list[HistoryRow]:
    if not isinstance(value, list):
        message = f"the checkpoint's history is {type(value).__name__}, expected a list of rows"
        raise TrainingError(message)
    return [dict(row) for row in value if isinstance(row, dict)]  # type: ignore[arg-type]
