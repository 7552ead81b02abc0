"""Numbers from the host: on a CPU they are where they were."""

import torch

from worldloom.diffusion.from_host import to_device


def test_on_a_cpu_numbers_stay_what_they_are():
    values = torch.arange(3.0)
    assert to_device(values, torch.device("cpu")) is values
