"""What is made of what players saw: the knee, the bars, the share of continuous play."""

from __future__ import annotations

import pytest
import torch

from services.load.player import Played
from services.load.serving_bench import Load, ServingBenchConfig, _report
from worldloom.bench.record import this_machine


def played(*, stalled_seconds: float = 0.0, failure: str = "", first: float = 0.2) -> Played:
    return Played(
        seed=0,
        failure=failure,
        opened_seconds=0.1,
        first_frame_seconds=first,
        action_to_frame_seconds=[0.05],
        interval_seconds=[0.0625] * 4,
        played_seconds=10.0,
        stalled_seconds=stalled_seconds,
    )


def test_a_session_that_failed_counts_as_no_play_at_all() -> None:
    load = Load(2, [played(), played(failure="no_backend: gone")])
    assert load.continuity == pytest.approx(0.5)


def test_the_knee_is_the_largest_number_whose_play_is_continuous() -> None:
    loads = [Load(1, [played()]), Load(2, [played(), played()])]
    loads.append(Load(3, [played(stalled_seconds=2.0)] * 3))
    opened = [played()] * 18 + [played(first=0.9)] * 2
    report = _report(
        ServingBenchConfig(), this_machine(torch.device("cpu")), 7.0, opened, loads, "the command"
    )
    cold, first, knee = report.bars
    assert (cold.value, cold.is_met) == (7.0, True)
    assert first.value == pytest.approx(900, rel=0.05)
    assert not first.is_met
    assert knee.value == 2
    assert "1: 1.0000, 2: 1.0000, 3: 0.8000" in " ".join(report.notes)
    names = [row.name for row in report.measurements]
    assert names[:2] == ["asked for to start image", "asked for to first made frame"]
    assert "3 at once: action to first frame" in names
