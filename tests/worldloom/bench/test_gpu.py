"""The bench of a GPU does not begin without one."""

import pytest
import torch

from worldloom.bench.gpu import GpuBenchConfig, measure_gpu
from worldloom.bench.gpu_report import Floors
from worldloom.errors import MachineError
from worldloom.presets import preset


def test_without_a_gpu_nothing_is_allocated():
    with pytest.raises(MachineError, match="measured on a GPU"):
        measure_gpu(
            GpuBenchConfig(), preset("stream-5b"), Floors(), torch.device("cpu"), "a command"
        )
