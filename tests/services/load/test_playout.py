from __future__ import annotations

import pytest

from services.load.playout import Playout


def shown(arrivals: list[float], frames_per_second: float = 10.0) -> Playout:
    playout = Playout(frames_per_second, started_at=1.0)
    for arrival in arrivals:
        playout.show(arrival)
    return playout


def test_frames_that_are_there_are_seen_at_their_times() -> None:
    playout = shown([0.9] * 4)
    assert playout.shown_at == pytest.approx([1.0, 1.1, 1.2, 1.3])
    assert (playout.num_stalls, playout.stalled_seconds) == (0, 0.0)
    assert playout.played_seconds == pytest.approx(0.4)


def test_a_late_frame_is_one_stall_and_what_follows_is_seen_later() -> None:
    playout = shown([0.9, 0.9, 1.75, 0.9])
    assert playout.shown_at == pytest.approx([1.0, 1.1, 1.75, 1.85])
    assert playout.num_stalls == 1
    assert playout.stalled_seconds == pytest.approx(0.55)
    assert max(playout.intervals()) == pytest.approx(0.65)


def test_every_late_frame_is_a_stall_of_its_own() -> None:
    playout = shown([1.0, 1.3, 1.6])
    assert playout.num_stalls == 2
    assert playout.stalled_seconds == pytest.approx(0.4)


def test_nothing_shown_is_nothing_played() -> None:
    assert shown([]).played_seconds == 0.0
    assert shown([]).intervals() == []
