"""Throughput, utilisation and waiting, added up between readings."""

from __future__ import annotations

import pytest
import torch

from worldloom.train.speed import Speedometer, peak_flops


def test_a_reading_is_of_the_steps_since_the_last_one() -> None:
    speed = Speedometer(flops_per_step=50.0, samples_per_step=8, peak=1000.0)
    for seconds, wait in ((0.1, 0.0), (0.3, 0.1)):
        speed.add(seconds, wait)
    assert speed.read() == pytest.approx(
        {
            "steps_per_second": 5.0,
            "samples_per_second": 40.0,
            "data_wait_share": 0.25,
            "mfu": 0.25,
        }
    )
    speed.add(1.0, 0.0)
    assert speed.read()["steps_per_second"] == pytest.approx(1.0)


def test_what_is_not_known_is_left_out() -> None:
    speed = Speedometer(flops_per_step=0.0, samples_per_step=1, peak=1000.0)
    speed.add(1.0, 0.0)
    assert "mfu" not in speed.read()


def test_a_processors_peak_is_measured() -> None:
    assert peak_flops(torch.device("cpu")) > 1e8
