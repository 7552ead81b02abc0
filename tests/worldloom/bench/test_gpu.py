"""The bench of a GPU does not begin without one; what it plays, it counts."""

import pytest
import torch
from tiny import tiny_model

from worldloom.bench import gpu
from worldloom.bench.gpu import GpuBenchConfig, full_after, measure_gpu
from worldloom.bench.gpu_report import Floors
from worldloom.errors import MachineError
from worldloom.presets import preset


def test_without_a_gpu_nothing_is_allocated():
    with pytest.raises(MachineError, match="measured on a GPU"):
        measure_gpu(
            GpuBenchConfig(), preset("stream-5b"), Floors(), torch.device("cpu"), "a command"
        )


def test_warm_up_is_what_was_played_before():
    model = tiny_model()
    played = gpu._play(GpuBenchConfig(), model, warmup=0.0, seconds=0.0)
    assert played.num_warmup == full_after(model)
    assert {part.num_warmup for part in played.measurements} == {full_after(model)}
    assert len(played.segments) == 2
