"""Walks that are compared are timed in turns, and what warms up does not count."""

from __future__ import annotations

import pytest
import torch

from worldloom.experiments.timing import frames_to_time, timed_in_turns
from worldloom.experiments.walks import Walked


def walked(segments):
    return Walked(torch.zeros(1), segments, [seconds / 2 for seconds in segments])


def test_walks_take_turns_and_their_first_segments_warm_up():
    order = []

    def slow():
        order.append("slow")
        return walked([9.0, 9.0, 4.0, 4.0])

    def fast():
        order.append("fast")
        return walked([9.0, 9.0, 1.0, 1.0])

    first, second = timed_in_turns([slow, fast])
    assert order == ["slow", "fast", "slow", "fast"]
    assert (first.segment.p50_seconds, first.denoise_seconds) == (4.0, 2.0)
    assert (second.segment.max_seconds, second.segment.num_samples) == (1.0, 4)


def test_a_walk_of_one_segment_is_timed_all_the_same():
    [times] = timed_in_turns([lambda: walked([3.0])])
    assert times.segment.p50_seconds == pytest.approx(3.0)


def test_frames_are_those_of_the_segments_that_warm_up_and_that_count():
    assert frames_to_time(6, segment_frames=12) == 1 + 8 * 12
