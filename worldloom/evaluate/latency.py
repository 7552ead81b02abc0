"""Percentiles of measured times.

Times differ from run to run, so they go to the tracker and to the summary, never into an
artifact's content. It does not know what was timed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from worldloom.config import Config


class LatencySummary(Config):
    """The distribution of a measured time."""

    num_samples: int = Field(ge=1, description="times measured, warm-up left out")
    mean_seconds: float = Field(ge=0, description="mean, seconds")
    p50_seconds: float = Field(ge=0, description="median, seconds")
    p95_seconds: float = Field(ge=0, description="95th percentile, seconds")
    p99_seconds: float = Field(ge=0, description="99th percentile, seconds")
    max_seconds: float = Field(ge=0, description="longest, seconds")


def summarise_seconds(seconds: Sequence[float], *, num_warmup: int = 0) -> LatencySummary:
    """Return the summary of measured seconds after the first `num_warmup` of them.

    Raises:
        ValueError: when nothing is left, or a time is negative or not finite.
    """
    kept = np.asarray(seconds[num_warmup:], dtype=np.float64)
    if not len(kept):
        message = f"{len(seconds)} times with num_warmup={num_warmup}: expected at least one left"
        raise ValueError(message)
    if not np.isfinite(kept).all() or (kept < 0).any():
        message = f"times {kept.tolist()}: expected finite seconds of at least 0"
        raise ValueError(message)
    p50, p95, p99 = (float(value) for value in np.percentile(kept, (50, 95, 99)))
    return LatencySummary(
        num_samples=len(kept),
        mean_seconds=float(kept.mean()),
        p50_seconds=p50,
        p95_seconds=p95,
        p99_seconds=p99,
        max_seconds=float(kept.max()),
    )
