"""The gateway's bench, small: what is measured is there, in its unit, and judged."""

from __future__ import annotations

import pytest

from services.load.gateway_bench import GatewayBenchConfig, measure_gateway


@pytest.mark.slow
def test_a_small_run_measures_every_frame_and_judges_it() -> None:
    told: list[tuple[int, int]] = []
    config = GatewayBenchConfig(num_sessions=2, seconds=2.0, arrival_seconds=0.1)
    report = measure_gateway(config, "the command", lambda done, total: told.append((done, total)))
    assert told
    added, opened, acted, between = report.measurements
    assert added.num_samples >= 2 * 2 * 30
    assert 0 < added.median < 1000
    assert opened.num_samples == 2
    assert acted.num_samples >= 2 * 4
    assert 20 < between.median < 60
    bars = {bar.name: bar for bar in report.bars}
    assert bars["sessions that failed"].is_met
    assert bars["added to a frame, p99"].value >= added.median
    assert 0 < bars["continuous play of the worst session"].value <= 1
