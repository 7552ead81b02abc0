"""Without a GPU a captured function is the function."""

import torch

from worldloom.rollout.realtime.captured import Captured, GraphMemory


def test_on_a_cpu_every_call_is_a_call():
    calls = []

    def double(x):
        calls.append(x)
        return 2 * x

    captured = Captured(double, GraphMemory())
    for value in (1.0, 2.0):
        assert captured(torch.tensor([value])).item() == 2 * value
    assert len(calls) == 2
