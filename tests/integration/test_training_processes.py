"""Training as real processes: killed, split over two, and joined again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from worldloom.train.checkpoint import CHECKPOINT_NAME, load_checkpoint, same_tensors
from worldloom.train.learner import Learner, LearnerConfig

PROGRAM = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import torch
    from torch import nn
    from worldloom.train.learner import LearnerConfig
    from worldloom.train.trainer import Trainer, TrainerConfig

    class Copy:
        def __init__(self, kill_at):
            self.module = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 2))
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for parameter in self.module.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
            self.kill_at = kill_at

        def loss(self, step, generator):
            if step == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            x = torch.randn(8, 6, generator=generator)
            return (self.module(x) - x[:, :2]).square().mean(), {}

        def evaluate(self):
            return {}

    folder, stage, kill_at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    learner = LearnerConfig(learning_rate=0.05, zero_stage=stage, weight_decay=0.01)
    config = TrainerConfig(num_steps=6, checkpoint_every_steps=2, num_threads=1, learner=learner)
    Trainer(config).run(Copy(kill_at), folder=folder)
    """
)


def start(folder: Path, stage: int, kill_at: int, **env: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", PROGRAM, str(folder), str(stage), str(kill_at)]
    return subprocess.Popen(argv, env={**os.environ, **env})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_on_two(folder: Path, stage: int) -> None:
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [start(folder, stage, -1, RANK=rank, LOCAL_RANK=rank, **env) for rank in "01"]
    assert [process.wait(timeout=240) for process in ranks] == [0, 0]


@pytest.mark.timeout(300)
def test_sigkill_in_the_middle_changes_no_bit(tmp_path: Path) -> None:
    assert start(tmp_path / "whole", 0, -1).wait(timeout=120) == 0
    assert start(tmp_path / "killed", 0, 5).wait(timeout=120) == -signal.SIGKILL
    saved = load_checkpoint(tmp_path / "killed")
    assert saved is not None
    assert saved.tensors["num_steps"] == 4
    assert start(tmp_path / "killed", 0, -1).wait(timeout=120) == 0
    whole = (tmp_path / "whole" / CHECKPOINT_NAME).read_bytes()
    assert (tmp_path / "killed" / CHECKPOINT_NAME).read_bytes() == whole


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", [1, 2])
def test_state_of_two_processes_goes_on_with_one(tmp_path: Path, stage: int) -> None:
    run_on_two(tmp_path, stage)
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved.tensors["num_steps"] == 6
    module = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 2))
    learner = Learner(module, LearnerConfig(learning_rate=0.05, zero_stage=stage))
    learner.load_state_tensors(saved.tensors)
    assert same_tensors(learner.state_tensors(), saved.tensors)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(99))
    learner.step(learner.compute(lambda: (module(x) - x[:, :2]).square().mean()))
    assert learner.num_steps == 7


@pytest.mark.timeout(300)
def test_two_processes_do_the_same_at_every_stage(tmp_path: Path) -> None:
    states = []
    for stage in (0, 2):
        run_on_two(tmp_path / str(stage), stage)
        saved = load_checkpoint(tmp_path / str(stage))
        assert saved is not None
        states.append(saved.tensors)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6)
