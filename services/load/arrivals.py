"""When sessions arrive: as people do, independently of each other. It knows no sessions."""

from __future__ import annotations

import random
from collections.abc import Iterator


def poisson_arrivals(num_arrivals: int, seconds: float, seed: int) -> Iterator[float]:
    """Yield the times of arrivals, in order, so many in about so many seconds on average."""
    generator = random.Random(seed)
    now = 0.0
    for _ in range(num_arrivals):
        if seconds > 0:
            now += generator.expovariate(num_arrivals / seconds)
        yield now
