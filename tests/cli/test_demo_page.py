"""The demo's page: which curves it is given, and from which file each point comes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.demo_page import _curves, enlargement


@pytest.fixture
def metrics(tmp_path: Path) -> dict[str, Path]:
    histories = {
        "base": [{"loss": 2.0}, {"loss": 1.5}, {"loss": 1.25}],
        "student": [
            {"regression_loss": 0.5, "critic_loss": 3.0},
            {"regression_loss": 0.25, "critic_loss": 2.0},
        ],
    }
    for name, history in histories.items():
        (tmp_path / name).write_text(json.dumps({"history": history}))
    return {name: tmp_path / name for name in histories}


def test_each_training_has_its_curve(metrics: dict[str, Path]) -> None:
    points = [series.points for curve in _curves(metrics) for series in curve.chart.series]
    assert points == [
        ((1.0, 2.0), (2.0, 1.5), (3.0, 1.25)),
        ((1.0, 0.5), (2.0, 0.25)),
        ((1.0, 3.0), (2.0, 2.0)),
    ]


def test_a_curve_says_what_it_shows(metrics: dict[str, Path]) -> None:
    for curve in _curves(metrics):
        assert curve.title
        assert curve.chart.x_label == "step"
        assert curve.chart.y_label


def test_small_frames_are_enlarged_and_large_ones_left_as_they_are() -> None:
    widths = {64: 2, 160: 1, 320: 1}
    for width, factor in widths.items():
        assert enlargement(np.zeros((1, 8, width, 3), np.uint8), 160) == factor
