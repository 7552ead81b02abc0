"""Where a run's parameters, metrics and files go: a protocol, and a tracker that keeps nothing.

It does not know MLflow: that adapter lives with the pipeline's steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Takes what a run wants remembered beside its artifacts."""

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        """Remember settings of the run."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Remember measured values at a step."""

    def log_file(self, path: Path, folder: str) -> None:
        """Remember a file under a folder of the run."""


class NullTracker:
    """A tracker for runs that nobody follows."""

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        """Drop the settings."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Drop the values."""

    def log_file(self, path: Path, folder: str) -> None:
        """Drop the file."""


def prefixed(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return the metrics under `prefix/name`."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
