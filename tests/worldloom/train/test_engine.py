"""DeepSpeed's engine: its settings, and what it is spared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worldloom.train.config import LearnerConfig
from worldloom.train.engine import engine_config, start_distributed, start_engine


def test_engine_settings_have_deepspeeds_keys() -> None:
    settings = engine_config(LearnerConfig(zero_stage=2, precision="bf16", micro_batch_size=4))
    assert settings["train_micro_batch_size_per_gpu"] == 4
    assert settings["zero_optimization"] == {"stage": 2}
    assert settings["gradient_clipping"] == 1.0
    assert settings["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


def test_without_zero_the_engine_does_not_clip() -> None:
    assert engine_config(LearnerConfig(gradient_clip=0.5))["gradient_clipping"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "adds_up"), [(0, False), (1, True)])
def test_one_process_adds_up_no_gradients_without_zero(stage: int, adds_up: bool) -> None:
    start_distributed()
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    engine = start_engine(module, optimizer, LearnerConfig(zero_stage=stage))
    assert engine.enable_backward_allreduce == adds_up
