"""What a checkpoint's tensors say of a module; `tests/integration/test_ray_train.py` runs jobs."""

from __future__ import annotations

import torch

from worldloom.train.flow_job import averaged_state


def test_averages_stand_in_for_parameters_and_buffers_come_along() -> None:
    one, two, three = (torch.full((1,), float(value)) for value in (1, 2, 3))
    state = averaged_state(
        {
            "num_steps": one,
            "ema.a": two,
            "parameters.a": one,
            "parameters.frozen": three,
            "buffers.table": one,
            "exp_avg.a": three,
        }
    )
    assert {name: float(value) for name, value in state.items()} == {
        "a": 2.0,
        "frozen": 3.0,
        "table": 1.0,
    }
