"""A GPU that is not fit to be measured is refused."""

import pytest
import torch

from worldloom.bench.gpu_machine import require_alone, require_lone_gpu
from worldloom.errors import MachineError


def test_a_cpu_is_refused():
    with pytest.raises(MachineError, match="measured on a GPU"):
        require_lone_gpu(torch.device("cpu"))


def test_a_gpu_of_which_others_hold_memory_is_refused():
    require_alone(1 << 30, "X")
    with pytest.raises(MachineError, match=r"GPU X: 7\.0 GiB are held by others"):
        require_alone(7 << 30, "X")
