"""On a thousand walks, what retrieval chooses first sees nearly what the best latent would."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from worldloom.bench.regret import measure_regret

NUM_TRAJECTORIES = 1000


def test_the_first_choice_loses_at_most_a_twentieth_of_the_exact_overlap(
    record_property: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    regret = measure_regret(NUM_TRAJECTORIES, seed=0)
    figures = {
        f"{name}_{figure}": value
        for name, lost in (("ours", regret.ours), ("reference", regret.reference))
        for figure, value in (("mean", lost.mean()), ("p95", np.percentile(lost, 95)))
    }
    for name, value in figures.items():
        record_property(f"overlap_lost_{name}", round(float(value), 5))
    told = ", ".join(f"{name} {value:.2%}" for name, value in figures.items())
    with capsys.disabled():
        sys.stdout.write(f"\nexact overlap lost on {len(regret.ours)} walks: {told}\n")
    assert len(regret.ours) >= 0.99 * NUM_TRAJECTORIES, "walks on which there was anything to lose"
    assert figures["ours_mean"] <= 0.05
    assert figures["ours_mean"] < figures["reference_mean"]
