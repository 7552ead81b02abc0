"""Training as real processes: killed, stopped, split over two, and joined again.

The tests start this very file as a program: `FOLDER STAGES SIGNAL SIGNAL_AT`. It trains six steps
of each stage in a folder of the stage's name.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldloom.train.checkpoint import (
    CHECKPOINT_NAME,
    TrainingCheckpoint,
    load_checkpoint,
    same_tensors,
)
from worldloom.train.learner import Learner, LearnerConfig
from worldloom.train.share import own_rows
from worldloom.train.trainer import Trainer, TrainerConfig, TrainingResult

ROOT = Path(__file__).parents[2]
NEVER = -1
PATIENCE_SECONDS = 280
TRAINING_EXIT_CODE = 10


def network() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


class Copying:
    """Learns to copy its first inputs, and may send its process a signal."""

    def __init__(self, number: int = signal.SIGKILL, at_step: int = NEVER) -> None:
        self.module = network()
        self.number, self.at_step = number, at_step

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        if step == self.at_step:
            os.kill(os.getpid(), self.number)
        x = torch.randn(8, 6, generator=generator)[own_rows(8)]
        return (self.module(x) - x[:, :2]).square().mean(), {}

    def evaluate(self) -> Mapping[str, float]:
        return {}


def train(folder: Path, stage: int, num_steps: int, objective: Copying) -> TrainingResult:
    learner = LearnerConfig(learning_rate=0.05, zero_stage=stage, weight_decay=0.01)
    config = TrainerConfig(
        num_steps=num_steps, checkpoint_every_steps=2, num_threads=1, learner=learner
    )
    return Trainer(config).run(objective, folder=folder)


def start(
    folder: Path,
    stages: str,
    number: int = signal.SIGKILL,
    at_step: int = NEVER,
    **env: str,
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, __file__, str(folder), stages, str(int(number)), str(at_step)]
    return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT), **env})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def codes_of_two(
    folder: Path, stages: str, *, stop_at: tuple[int, int] = (NEVER, NEVER)
) -> list[int]:
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        start(
            folder, stages, signal.SIGTERM, stop_at[rank],
            RANK=str(rank), LOCAL_RANK=str(rank), **env,
        )
        for rank in range(2)
    ]  # fmt: skip
    return [process.wait(timeout=PATIENCE_SECONDS) for process in ranks]


def saved_in(folder: Path) -> TrainingCheckpoint:
    saved = load_checkpoint(folder)
    assert saved is not None
    return saved


def losses(rows: object) -> list[float]:
    assert isinstance(rows, list)
    return [row["loss"] for row in rows]


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_sigkill_in_the_middle_changes_no_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole", 0, 6, Copying())
    killed = start(tmp_path, "0", at_step=5)
    assert killed.wait(timeout=PATIENCE_SECONDS) == -signal.SIGKILL
    assert saved_in(tmp_path / "0").tensors["num_steps"] == 4
    train(tmp_path / "0", 0, 6, Copying())
    whole = (tmp_path / "whole" / CHECKPOINT_NAME).read_bytes()
    assert (tmp_path / "0" / CHECKPOINT_NAME).read_bytes() == whole


@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_state_of_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    """Whatever the stage, two processes learn what one learns, and one goes on from them."""
    whole = train(tmp_path / "whole", 0, 8, Copying()).history
    assert codes_of_two(tmp_path, "12") == [0, 0]
    for stage in (1, 2):
        folder = tmp_path / str(stage)
        state = saved_in(folder).tensors
        learner = Learner(network(), LearnerConfig(learning_rate=0.05, zero_stage=stage))
        learner.load_state_tensors(state)
        assert same_tensors(learner.state_tensors(), {
            name: value for name, value in state.items() if not name.startswith("objective.")
        })  # fmt: skip
        alone = train(folder, stage, 8, Copying()).history
        assert losses(alone) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_sigterm_to_one_process_saves_at_the_same_step_of_all(tmp_path: Path) -> None:
    codes = codes_of_two(tmp_path, "1", stop_at=(NEVER, 2))
    assert codes == [TRAINING_EXIT_CODE, TRAINING_EXIT_CODE]
    assert saved_in(tmp_path / "1").tensors["num_steps"] == 3
    whole = train(tmp_path / "whole", 0, 6, Copying()).history
    assert losses(train(tmp_path / "1", 0, 6, Copying()).history) == pytest.approx(
        losses(whole), rel=1e-4
    )


if __name__ == "__main__":
    from worldloom.errors import TrainingError

    try:
        for stage in sys.argv[2]:
            objective = Copying(int(sys.argv[3]), int(sys.argv[4]))
            train(Path(sys.argv[1]) / stage, int(stage), 6, objective)
    except TrainingError as error:
        sys.exit(error.exit_code)
