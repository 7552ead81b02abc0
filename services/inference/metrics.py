"""What the engine says of itself: how full it is, how fast, what went wrong.

The engine counts on `EngineMetrics`; where the numbers go is behind `MetricFactory`, so that
nothing here knows Triton. Names follow Prometheus: base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.contract import EndReason

_LATENCY_BUCKETS_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
_REASONS: tuple[EndReason, ...] = (
    "finished",
    "stopped",
    "idle",
    "too_long",
    "cancelled",
    "failed",
    "shutdown",
    "taken_over",
)
Labels = Mapping[str, str]
NO_LABELS: Labels = {}


class Counter(Protocol):
    """A number that only grows."""

    def add(self, amount: float) -> None:
        """Let it grow."""


class Gauge(Protocol):
    """A number that goes up and down."""

    def set(self, value: float) -> None:
        """Say what it is now."""


class Histogram(Protocol):
    """How often values lie below some bounds."""

    def observe(self, value: float) -> None:
        """Count a value."""


class MetricFactory(Protocol):
    """Makes metrics, each under a name that starts with `worldloom_engine_`."""

    def counter(self, name: str, description: str, labels: Labels = NO_LABELS) -> Counter:
        """Return a new counter; those of one name differ in their labels."""

    def gauge(self, name: str, description: str) -> Gauge:
        """Return a new gauge."""

    def histogram(self, name: str, description: str, bounds: Sequence[float]) -> Histogram:
        """Return a new histogram."""


class EngineMetrics:
    """The metrics of one engine."""

    def __init__(self, factory: MetricFactory) -> None:
        """Make them all, so that they are there before anything happens."""
        self.slots = factory.gauge("slots", "Sessions that may be open at once.")
        self.sessions = factory.gauge("sessions", "Sessions that hold a slot.")
        self.parked_sessions = factory.gauge(
            "parked_sessions", "Sessions that wait in host memory to be resumed or continued."
        )
        self.queued_actions = factory.gauge("queued_actions", "Actions that wait for their frames.")
        self.min_slack_seconds = factory.gauge(
            "min_slack_seconds",
            "Least play time that was left when an open session's latest segment was ready.",
        )
        self.sessions_opened = factory.counter("sessions_opened_total", "Sessions begun.")
        self.sessions_resumed = factory.counter("sessions_resumed_total", "Sessions resumed.")
        self.sessions_ended = {
            reason: factory.counter(
                "sessions_ended_total",
                "Streams of sessions that ended, by reason; parked sessions are among them.",
                {"reason": reason},
            )
            for reason in _REASONS
        }
        self.frames = factory.counter("frames_total", "Frames sent, start images not counted.")
        self.deadline_misses = factory.counter(
            "deadline_misses_total", "Segments that were ready after the frames before had played."
        )
        self.store_failures = factory.counter(
            "store_failures_total", "Times that the session store failed."
        )
        self.segment_seconds = factory.histogram(
            "segment_seconds", "Time to make a segment.", _LATENCY_BUCKETS_SECONDS
        )
        self.first_frame_seconds = factory.histogram(
            "first_frame_seconds",
            "From the opening or resuming message to the session being ready.",
            _LATENCY_BUCKETS_SECONDS,
        )
        self.action_to_frame_seconds = factory.histogram(
            "action_to_frame_seconds",
            "From the receipt of a segment's last action to its frames being sent.",
            _LATENCY_BUCKETS_SECONDS,
        )


class RecordedMetrics:
    """Metrics in memory, for an engine without a server; values by name and labels' values."""

    def __init__(self) -> None:
        """Begin with none."""
        self.values: dict[str, float] = {}

    def counter(self, name: str, description: str, labels: Labels = NO_LABELS) -> Counter:  # noqa: ARG002
        """Return a new counter."""
        return _Recorded(self.values, "/".join([name, *labels.values()]))

    def gauge(self, name: str, description: str) -> Gauge:  # noqa: ARG002
        """Return a new gauge."""
        return _Recorded(self.values, name)

    def histogram(self, name: str, description: str, bounds: Sequence[float]) -> Histogram:  # noqa: ARG002
        """Return a new histogram, of which the count and the sum are kept."""
        return _Recorded(self.values, name)


class _Recorded:
    """One metric's place among the values."""

    def __init__(self, values: dict[str, float], name: str) -> None:
        self._values = values
        self._name = name

    def add(self, amount: float) -> None:
        """Let it grow."""
        self._add("", amount)

    def set(self, value: float) -> None:
        """Say what it is now."""
        self._values[self._name] = value

    def observe(self, value: float) -> None:
        """Count a value."""
        self._add("_count", 1)
        self._add("_sum", value)

    def _add(self, suffix: str, amount: float) -> None:
        name = self._name + suffix
        self._values[name] = self._values.get(name, 0.0) + amount
