"""Processes that share a sequence walk as one process walks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny import CONFIG, tiny_reference_model
from ulysses_walk import walk

from worldloom.errors import ConfigError
from worldloom.rollout.realtime.ulysses import PlaceShare

PROGRAM = Path(__file__).parent / "ulysses_walk.py"
ROOT = Path(__file__).parents[4]
REFERENCE = tiny_reference_model().transformer.config


@pytest.mark.slow
def test_two_processes_walk_as_one(tmp_path):
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(rank), "2", str(tmp_path / "store"), str(out)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert not process.returncode, errors[-3000:]
    expected = walk(tiny_reference_model())
    for out in outs:
        torch.testing.assert_close(torch.load(out), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def group_of_one(tmp_path):
    """Give this process a group of its own, unless it has one: a learner's stays with it."""
    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_all_processes_do_what_all_of_them_say():
    share = PlaceShare.of_this_process(REFERENCE)
    assert share.all_say(True, device=torch.device("cpu"))
    assert not share.all_say(False, device=torch.device("cpu"))


def test_a_share_is_a_stretch_of_every_latents_places():
    x = torch.arange(24).reshape(1, 2, 4, 3)
    shares = [PlaceShare(rank, 2).of_places(x) for rank in range(2)]
    assert torch.equal(torch.cat(shares, dim=2), x)


@pytest.mark.parametrize(
    ("config", "num_processes", "message"),
    [
        (REFERENCE, 4, "num_heads 2 on 4 processes: expected a multiple"),
        (REFERENCE.model_copy(update={"num_heads": 3}), 3, "tokens of a latent 4 on 3 processes"),
        (CONFIG, 2, "layout 'stream' on 2 processes: expected 'reference'"),
    ],
)
def test_a_shape_that_cannot_be_shared_is_refused(config, num_processes, message):
    with pytest.raises(ConfigError, match=message):
        PlaceShare(0, num_processes).require_fit(config)
