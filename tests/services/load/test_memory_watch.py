from __future__ import annotations

import os

import pytest

from services.load.memory_watch import MemoryWatch, growth_of


def test_growth_is_that_of_the_line_after_the_warm_up() -> None:
    seconds = [float(k) for k in range(100)]
    sizes = [10_000] * 20 + [1000 + k for k in range(80)]
    assert growth_of(seconds, sizes) == pytest.approx(79 / 1000, rel=1e-6)


def test_one_peak_is_no_growth() -> None:
    sizes = [1000] * 100
    sizes[60] = 2000
    assert abs(growth_of([float(k) for k in range(100)], sizes)) < 0.01


def test_too_little_to_lay_a_line_through_is_no_growth() -> None:
    assert growth_of([0.0, 1.0], [1, 2]) == 0.0


def test_a_process_is_looked_at() -> None:
    watch = MemoryWatch(os.getpid())
    watch.look()
    assert watch.largest_bytes > 1 << 20
    assert watch.growth == 0.0
