"""The bench of two GPUs does not begin without them."""

import pytest
import torch

from worldloom.bench.gpu import GpuBenchConfig
from worldloom.bench.gpu_pair import measure_pair
from worldloom.errors import MachineError
from worldloom.presets import preset


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are two GPUs")
def test_without_two_gpus_nothing_is_allocated():
    with pytest.raises(MachineError, match=r"GPUs on this machine: expected 2"):
        measure_pair(GpuBenchConfig(), preset("mg3-5b"), 2, "a command")
