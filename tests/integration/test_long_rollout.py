"""Six thousand frames in one session, at the size that a laptop serves.

`worldloom bench rollout` walks twenty thousand, and judges a segment's time too.
"""

import torch

from worldloom.bench.rollout import MOST_MEMORY_GROWTH, RolloutBenchConfig, measure_rollout
from worldloom.presets import preset


def test_six_thousand_frames_are_finite_and_memory_stays_flat(record_property):
    config = RolloutBenchConfig(num_frames=6_000, num_samples=1, num_warmup=0)
    shape = preset("nano-stream").transformer
    found = measure_rollout(config, shape, torch.device("cpu"), "a test")
    finite, growth, _ = found.bars  # the time of a segment is `worldloom bench rollout`'s to judge
    record_property("growth_of_resident_memory", growth.value)
    assert finite.value == 1.0
    assert growth.value <= MOST_MEMORY_GROWTH
