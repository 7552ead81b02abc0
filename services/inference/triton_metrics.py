"""The engine's metrics on Triton's own /metrics endpoint.

The Python backend's process crashes when two threads speak to the server about metrics at once,
so all calls hold one lock. A metric must not outlive its family, so both are kept together. The
module can be imported inside Triton's Python backend alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import triton_python_backend_utils as pb_utils

from services.inference.metrics import NO_LABELS, Counter, Gauge, Histogram, Labels

_PREFIX = "worldloom_engine_"


class TritonMetrics:
    """Makes metrics that Triton shows."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._families: dict[str, pb_utils.MetricFamily] = {}

    def counter(self, name: str, description: str, labels: Labels = NO_LABELS) -> Counter:
        """Return a new counter."""
        family = self._family(name, description, pb_utils.MetricFamily.COUNTER)
        return _TritonMetric(family.Metric(labels=dict(labels)), family, self._lock)

    def gauge(self, name: str, description: str) -> Gauge:
        """Return a new gauge."""
        family = self._family(name, description, pb_utils.MetricFamily.GAUGE)
        return _TritonMetric(family.Metric(labels={}), family, self._lock)

    def histogram(self, name: str, description: str, bounds: Sequence[float]) -> Histogram:
        """Return a new histogram."""
        family = self._family(name, description, pb_utils.MetricFamily.HISTOGRAM)
        metric = family.Metric(labels={}, buckets=list(bounds))
        return _TritonMetric(metric, family, self._lock)

    def _family(self, name: str, description: str, kind: object) -> pb_utils.MetricFamily:
        if name not in self._families:
            self._families[name] = pb_utils.MetricFamily(
                name=_PREFIX + name, description=description, kind=kind
            )
        return self._families[name]


class _TritonMetric:
    """One metric, and the family that it must not outlive."""

    def __init__(
        self, metric: pb_utils.Metric, family: pb_utils.MetricFamily, lock: threading.Lock
    ) -> None:
        self._metric = metric
        self._family = family
        self._lock = lock

    def add(self, amount: float) -> None:
        """Let it grow."""
        with self._lock:
            self._metric.increment(amount)

    def set(self, value: float) -> None:
        """Say what it is now."""
        with self._lock:
            self._metric.set(value)

    def observe(self, value: float) -> None:
        """Count a value."""
        with self._lock:
            self._metric.observe(value)
