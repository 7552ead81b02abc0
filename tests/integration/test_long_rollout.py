"""Twenty thousand frames in one session: minutes of play, at the size that a laptop serves."""

import pytest
import torch

from worldloom.bench.rollout import MOST_MEMORY_GROWTH, RolloutBenchConfig, measure_rollout
from worldloom.presets import preset


@pytest.mark.timeout(900)  # a minute on a core of its own
def test_twenty_thousand_frames_are_finite_and_memory_stays_flat(record_property):
    config = RolloutBenchConfig(num_frames=20_000, num_samples=1, num_warmup=0)
    shape = preset("nano-stream").transformer
    found = measure_rollout(config, shape, torch.device("cpu"), "a test")
    finite, growth, _ = found.bars  # the time of a segment is `worldloom bench rollout`'s to judge
    record_property("growth_of_resident_memory", growth.value)
    assert finite.value == 1.0
    assert growth.value <= MOST_MEMORY_GROWTH
