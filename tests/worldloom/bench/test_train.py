"""The training bench at nano size: what is counted, and what the bars are."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, tiny_reference_model

from worldloom.bench import train
from worldloom.bench.train import TrainBenchConfig, measure_train
from worldloom.model.cost.footprint import footprint
from worldloom.train.config import LearnerConfig

QUICK = TrainBenchConfig(
    num_samples=2, num_warmup=1, learner=LearnerConfig(learning_rate=1e-4), num_clips=2
)


@pytest.mark.parametrize("shape", [CONFIG, tiny_reference_model().transformer.config])
def test_use_of_the_device_follows_from_the_models_own_count(shape, monkeypatch) -> None:
    monkeypatch.setattr(train, "peak_flops", lambda _: 1e12)
    found = measure_train(QUICK, shape, torch.device("cpu"), "a command")
    step, wait, tokens, rate = found.measurements
    assert (step.name, step.num_samples, wait.num_samples) == ("step", 2, 2)
    expected = 3 * footprint(shape).flops_per_forward / (step.median / 1e3) / 1e12
    assert any(f"MFU {expected:.1%}" in note for note in found.notes)
    assert tokens.median / rate.median == pytest.approx(
        footprint(shape).tokens.later_segment * 1e12 / (3 * footprint(shape).flops_per_forward)
    )
    assert found.bars == ()  # the bars are a GPU's


def test_two_segments_of_a_step_are_two_segments_of_work() -> None:
    config = QUICK.model_copy(update={"num_segments": 2})
    found = measure_train(config, CONFIG, torch.device("cpu"), "a command")
    _, _, tokens, rate = found.measurements
    count = footprint(CONFIG).tokens.later_segment
    assert f"2 x {count} tokens a step" in found.notes[0]
    flops_a_token = 3 * footprint(CONFIG).flops_per_forward / count
    assert rate.median * 1e12 / tokens.median == pytest.approx(flops_a_token)


def test_a_gpu_must_reach_forty_percent_and_hide_its_data() -> None:
    assert [bar.is_met for bar in train._bars(0.41, 0.01)] == [True, True]
    assert [bar.is_met for bar in train._bars(0.39, 0.03)] == [False, False]
