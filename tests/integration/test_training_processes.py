"""Training as real processes: killed, split over two, and joined again.

The tests start this very file as a program: `FOLDER STAGE KILL_AT`.
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

from worldloom.train.checkpoint import CHECKPOINT_NAME, load_checkpoint, same_tensors
from worldloom.train.learner import Learner, LearnerConfig
from worldloom.train.trainer import Trainer, TrainerConfig

ROOT = Path(__file__).parents[2]
NEVER = -1
PATIENCE_SECONDS = 280


def network() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


class Copying:
    """Learns to copy its first inputs, and may kill its process."""

    def __init__(self, kill_at: int) -> None:
        self.module = network()
        self.kill_at = kill_at

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.randn(8, 6, generator=generator)
        return (self.module(x) - x[:, :2]).square().mean(), {}

    def evaluate(self) -> Mapping[str, float]:
        return {}


def train(folder: Path, stage: int, kill_at: int) -> None:
    learner = LearnerConfig(learning_rate=0.05, zero_stage=stage, weight_decay=0.01)
    config = TrainerConfig(num_steps=6, checkpoint_every_steps=2, num_threads=1, learner=learner)
    Trainer(config).run(Copying(kill_at), folder=folder)


def start(folder: Path, stage: int, kill_at: int = NEVER, **env: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, __file__, str(folder), str(stage), str(kill_at)]
    return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT), **env})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def train_on_two(folder: Path, stage: int) -> Mapping[str, Tensor]:
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [start(folder, stage, RANK=rank, LOCAL_RANK=rank, **env) for rank in "01"]
    assert [process.wait(timeout=PATIENCE_SECONDS) for process in ranks] == [0, 0]
    saved = load_checkpoint(folder)
    assert saved is not None
    assert saved.tensors["num_steps"] == 6
    return saved.tensors


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_sigkill_in_the_middle_changes_no_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole", 0, NEVER)
    killed = start(tmp_path / "killed", 0, kill_at=5)
    assert killed.wait(timeout=PATIENCE_SECONDS) == -signal.SIGKILL
    saved = load_checkpoint(tmp_path / "killed")
    assert saved is not None
    assert saved.tensors["num_steps"] == 4
    train(tmp_path / "killed", 0, NEVER)
    whole = (tmp_path / "whole" / CHECKPOINT_NAME).read_bytes()
    assert (tmp_path / "killed" / CHECKPOINT_NAME).read_bytes() == whole


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_state_of_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    states = {stage: train_on_two(tmp_path / str(stage), stage) for stage in (1, 2)}
    for name, value in states[1].items():
        torch.testing.assert_close(states[2][name], value, rtol=1e-4, atol=1e-6)
    for stage, state in states.items():
        module = network()
        learner = Learner(module, LearnerConfig(learning_rate=0.05, zero_stage=stage))
        learner.load_state_tensors(state)
        assert same_tensors(learner.state_tensors(), state)
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(99))
        loss = learner.compute(lambda m=module, x=x: (m(x) - x[:, :2]).square().mean())
        learner.step(loss)
        assert learner.num_steps == 7


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
