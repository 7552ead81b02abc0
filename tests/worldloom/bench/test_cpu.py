"""Playing on a CPU: every way is measured, over the same number of turns."""

import pytest
from tiny import CONFIG

from worldloom.bench.cpu import WAYS, CpuBenchConfig, measure_cpu
from worldloom.presets import preset, with_overrides

# The small VAE's latents, and a transformer as small as the tests' own.
TINY = with_overrides(
    preset("nano-stream"),
    [f"dim={CONFIG.dim}", f"num_heads={CONFIG.num_heads}", "num_blocks=2", "ffn_dim=32"],
)


@pytest.mark.slow
def test_every_way_is_measured_in_turns():
    found = measure_cpu(CpuBenchConfig(num_turns=2, segments_a_turn=1), TINY, "a command")
    assert [one.name for one in found.measurements] == list(WAYS)
    assert all(one.num_samples == 2 and one.median > 0 for one in found.measurements)
    fastest = min(one.median for one in found.measurements)
    [bar] = found.bars
    assert bar.value == 12 / (fastest / 1e3)
