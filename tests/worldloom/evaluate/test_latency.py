"""Percentiles of times."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.latency import summarise_seconds


def test_percentiles_leave_the_warm_up_out():
    seconds = [50.0, *np.linspace(0.0, 1.0, 101)]
    summary = summarise_seconds(seconds, num_warmup=1)
    assert summary.num_samples == 101
    assert summary.p50_seconds == pytest.approx(0.5)
    assert summary.p95_seconds == pytest.approx(0.95)
    assert summary.p99_seconds == pytest.approx(0.99)
    assert summary.max_seconds == 1.0


@pytest.mark.parametrize(("seconds", "warmup"), [([], 0), ([1.0], 1), ([-1.0], 0), ([np.nan], 0)])
def test_times_that_are_none_are_refused(seconds, warmup):
    with pytest.raises(ValueError, match="expected"):
        summarise_seconds(seconds, num_warmup=warmup)
