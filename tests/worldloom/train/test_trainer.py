"""The loop: draws by step, resume, evaluation, a clean stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldloom.errors import TrainingError
from worldloom.train.checkpoint import CHECKPOINT_NAME, load_checkpoint, same_tensors
from worldloom.train.learner import LearnerConfig
from worldloom.train.trainer import Trainer, TrainerConfig, step_generator


class Regression:
    """Learns to copy its first inputs; keeps a tensor of its own, as an error buffer would."""

    def __init__(self, *, spoil_at: int = -1, stop_at: int = -1) -> None:
        self.module: nn.Module = nn.Linear(6, 2)
        nn.init.constant_(self.module.weight, 0.1)
        nn.init.zeros_(self.module.bias)
        self.seen = torch.zeros(6)
        self.spoil_at, self.stop_at = spoil_at, stop_at
        self.was_training: list[bool] = []

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        x = torch.randn(8, 6, generator=generator) + 0.1 * self.seen
        self.seen = self.seen + x.detach().mean(0)
        loss = (self.module(x) - x[:, :2]).square().mean()
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        scale = float("nan") if step == self.spoil_at else 1.0
        return loss * scale, {"inputs": float(x.mean())}

    def evaluate(self) -> Mapping[str, float]:
        self.was_training.append(self.module.training)
        return {"loss": float((self.module.weight - torch.eye(2, 6)).square().sum())}

    def state_tensors(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.seen = tensors["seen"]


class RecordingTracker:
    def __init__(self) -> None:
        self.params: dict[str, str | float | int] = {}
        self.metrics: list[tuple[int, Mapping[str, float]]] = []

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        self.params.update(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def log_file(self, path: Path, folder: str) -> None:
        raise AssertionError(path, folder)


def config(steps: int = 6, **values: object) -> TrainerConfig:
    learner = LearnerConfig(learning_rate=0.05, warmup_steps=2)
    return TrainerConfig.model_validate({"num_steps": steps, "learner": learner, **values})


def test_draws_follow_from_seed_step_and_rank_alone() -> None:
    def draw(seed: int, step: int, rank: int = 0) -> float:
        return torch.rand((), generator=step_generator(seed, step, rank=rank)).item()

    assert draw(3, 4) == draw(3, 4)
    assert len({draw(3, 4), draw(4, 3), draw(3, 5), draw(3, 4, rank=1)}) == 4


def test_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = Trainer(config(checkpoint_every_steps=3)).run(Regression(), folder=tmp_path / "whole")
    Trainer(config(steps=3)).run(Regression(), folder=tmp_path / "parts")
    parts = Trainer(config()).run(Regression(), folder=tmp_path / "parts")
    assert same_tensors(parts.learner.state_tensors(), whole.learner.state_tensors())
    assert parts.history == whole.history
    assert len(whole.history) == 6


def test_killed_run_repeats_only_the_steps_after_its_checkpoint(tmp_path: Path) -> None:
    whole = Trainer(config()).run(Regression(), folder=tmp_path / "whole")
    with pytest.raises(TrainingError, match="step 5: the loss is nan"):
        Trainer(config(checkpoint_every_steps=2)).run(Regression(spoil_at=5), folder=tmp_path)
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved.tensors["num_steps"] == 4
    parts = Trainer(config()).run(Regression(), folder=tmp_path)
    assert parts.history == whole.history
    whole_bytes = (tmp_path / "whole" / CHECKPOINT_NAME).read_bytes()
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == whole_bytes


class NamedRegression(Regression):
    """Draws its batches ahead and says what they were made of."""

    def draw(self, step: int, generator: torch.Generator) -> Tensor:
        return torch.randn(8, 6, generator=generator)

    def loss_of(
        self, batch: Tensor, step: int, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        scale = float("nan") if step == self.spoil_at else 1.0
        return (self.module(batch) - batch[:, :2]).square().mean() * scale, {}

    def names(self, batch: Tensor) -> list[str]:
        return ["maze-7", "hall-2", "maze-7"]


def test_a_bad_batch_is_named_and_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        Trainer(config(checkpoint_every_steps=2)).run(NamedRegression(spoil_at=3), folder=tmp_path)
    assert str(caught.value) == (
        "step 3: the loss is nan, expected a finite number; clips of the batch: hall-2, maze-7; "
        "the checkpoint of step 2 stays"
    )
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert all(torch.isfinite(v).all() for v in saved.tensors.values() if v.is_floating_point())


def test_batches_drawn_ahead_change_no_bit(tmp_path: Path) -> None:
    ahead = Trainer(config(prefetch_steps=3)).run(NamedRegression(), folder=tmp_path / "ahead")
    plain = Trainer(config(prefetch_steps=0)).run(NamedRegression(), folder=tmp_path / "plain")
    assert same_tensors(ahead.learner.state_tensors(), plain.learner.state_tensors())


def test_resuming_with_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    Trainer(config(steps=2)).run(Regression(), folder=tmp_path)
    with pytest.raises(TrainingError, match=r"trainer\.seed=0 then, 5 now"):
        Trainer(config(seed=5)).run(Regression(), folder=tmp_path)


class ThreeSteps:
    """A pace that ends a run at its third step, at a falling rate."""

    steps = 0

    def is_over(self) -> bool:
        self.steps += 1
        return self.steps == 3

    def rate_scale(self) -> float:
        return 1 / (1 + self.steps)


def test_a_pace_ends_a_run_early_with_a_checkpoint_and_scales_its_rate(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    result = Trainer(config()).run(
        Regression(), folder=tmp_path, tracker=tracker, pace=ThreeSteps()
    )
    assert result.learner.num_steps == 3
    assert result.speed["samples_per_second"] > 0
    assert [row["step"] for row in result.evaluations] == [0, 3]
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved.tensors["num_steps"] == 3
    rates = [m["train/learning_rate"] for _, m in tracker.metrics if "train/loss" in m]
    assert rates == pytest.approx([0.025, 0.025, 0.05 / 3])


def test_speed_and_waiting_are_logged(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    Trainer(config(steps=5, log_every_steps=2)).run(Regression(), folder=tmp_path, tracker=tracker)
    logged = [step for step, metrics in tracker.metrics if "train/loss" in metrics]
    assert logged == [1, 3, 4]
    names = {name for _, metrics in tracker.metrics for name in metrics}
    assert {"train/samples_per_second", "train/data_wait_share"} <= names


def test_loss_that_is_not_finite_names_its_step_and_keeps_the_weights(tmp_path: Path) -> None:
    objective = Regression(spoil_at=0)
    with pytest.raises(TrainingError, match="step 0: the loss is nan, expected a finite number"):
        Trainer(config()).run(objective, folder=tmp_path)
    assert torch.isfinite(objective.module.weight).all()


def test_sigterm_saves_at_the_steps_end_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="stopped by SIGTERM after step 3 of 6"):
        Trainer(config()).run(Regression(stop_at=2), folder=tmp_path)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved.tensors["num_steps"] == 3


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    Trainer(config()).run(Regression(), folder=tmp_path)
    again = Trainer(config()).run(Regression(spoil_at=0), folder=tmp_path)
    assert len(again.history) == 6


def test_evaluates_before_between_and_after_with_averaged_weights(tmp_path: Path) -> None:
    objective = Regression()
    result = Trainer(config(evaluate_every_steps=3)).run(objective, folder=tmp_path)
    assert [row["step"] for row in result.evaluations] == [0, 3, 6]
    assert result.evaluations[0]["loss"] > result.evaluations[-1]["loss"]
    assert objective.was_training == [False, False, False]
    ema = result.learner.ema_state()["weight"]
    expected = float((ema - torch.eye(2, 6)).square().sum())
    assert result.evaluations[-1]["loss"] == pytest.approx(expected)


def test_tells_tracker_and_reporter(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    reports: list[tuple[int, int]] = []
    Trainer(config(steps=2, num_threads=1)).run(
        Regression(),
        folder=tmp_path,
        tracker=tracker,
        report=lambda step, total, _values: reports.append((step, total)),
    )
    assert reports == [(1, 2), (2, 2)]
    assert tracker.params["num_threads"] == 1
    names = {name for _, metrics in tracker.metrics for name in metrics}
    assert {"train/loss", "train/gradient_norm", "train/learning_rate", "evaluation/loss"} <= names


def test_times_stay_out_of_the_history(tmp_path: Path) -> None:
    result = Trainer(config(steps=1)).run(Regression(), folder=tmp_path)
    assert set(result.history[0]) == {"step", "loss", "gradient_norm", "inputs"}


def test_threads_and_determinism_are_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    Trainer(config(steps=1, num_threads=before + 1)).run(Regression(), folder=tmp_path)
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_settings_and_tracking_import_no_torch() -> None:
    code = (
        "import sys, worldloom.train.config, worldloom.train.tracking, worldloom.quantize.config;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
