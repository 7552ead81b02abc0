"""What the gateway counts, for Prometheus, in a registry of its own.

Counting one frame costs an addition: the outbox counts, and a session hands on what was counted
since with every segment. It knows no sessions and no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.contract import Description

_PREFIX = "worldloom_gateway"
_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FRAME_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


class Metrics:
    """All series of one gateway."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        r = self.registry
        self.sessions = Gauge(
            f"{_PREFIX}_sessions", "Sessions by state.", ["state"], registry=r
        )  # fmt: skip
        self.queued_sessions = Gauge(
            f"{_PREFIX}_queued_sessions", "Sessions that wait for a slot.", registry=r
        )
        self.queue_seconds = Histogram(
            f"{_PREFIX}_queue_seconds", "Wait for a slot.", buckets=_WAIT_BUCKETS, registry=r
        )
        self.first_frame_seconds = Histogram(
            f"{_PREFIX}_first_frame_seconds",
            "From a session's first message to its start image.",
            buckets=_WAIT_BUCKETS,
            registry=r,
        )
        self.action_to_frame_seconds = Histogram(
            f"{_PREFIX}_action_to_frame_seconds",
            "From an action's receipt to the first frame that obeys it, waiting for its segment.",
            buckets=_FRAME_BUCKETS,
            registry=r,
        )
        self.frames = Counter(f"{_PREFIX}_frames", "Frames sent.", registry=r)
        self.frame_bytes = Counter(
            f"{_PREFIX}_frame_bytes", "Bytes of the frames sent.", registry=r
        )
        self.dropped_frames = Counter(
            f"{_PREFIX}_dropped_frames", "Frames left out for being late.", registry=r
        )
        self.opened = Counter(
            f"{_PREFIX}_opened_sessions", "Sessions opened.", ["release"], registry=r
        )
        self.ended = Counter(f"{_PREFIX}_ended_sessions", "Sessions over.", ["reason"], registry=r)
        self.resumes = Counter(
            f"{_PREFIX}_resumes",
            "Sessions that went on, by who brought them back: client or gateway.",
            ["by"],
            registry=r,
        )
        self.errors = Counter(f"{_PREFIX}_errors", "Errors told, by code.", ["code"], registry=r)
        self.backend_up = Gauge(
            f"{_PREFIX}_backend_up", "Whether a backend answers.", ["address"], registry=r
        )
        self.backend_slots = Gauge(
            f"{_PREFIX}_backend_slots", "Slots of a backend.", ["address"], registry=r
        )
        self.backend_free_slots = Gauge(
            f"{_PREFIX}_backend_free_slots", "Free slots of a backend.", ["address"], registry=r
        )

    def measure_backends(self, backends: Iterable[BackendState]) -> None:
        """Set the gauges of the backends; those that are gone have none any more."""
        gauges = (self.backend_up, self.backend_slots, self.backend_free_slots)
        for gauge in gauges:
            gauge.clear()
        for backend in backends:
            slots = 0 if backend.description is None else backend.description.num_slots
            values = (float(backend.is_up), slots, max(0, backend.num_free))
            for gauge, value in zip(gauges, values, strict=True):
                gauge.labels(backend.address).set(value)

    def text(self) -> bytes:
        """Return all series in Prometheus's text format."""
        return generate_latest(self.registry)

    def count_error(self, code: str) -> None:
        """Count an error that was told."""
        self.errors.labels(code).inc()


class BackendState(Protocol):
    """What is measured of a backend."""

    is_up: bool
    description: Description | None

    @property
    def address(self) -> str:
        """Where it is."""

    @property
    def num_free(self) -> int:
        """Slots that are free."""


class FrameCount(Protocol):
    """Running totals of one player's socket."""

    num_sent: int
    num_bytes: int
    num_dropped: int


class FrameMeter:
    """Hands on what one socket has sent since it was last asked."""

    def __init__(self, metrics: Metrics, count: FrameCount) -> None:
        """Begin at the count's present totals."""
        self._metrics = metrics
        self._count = count
        self._told = (count.num_sent, count.num_bytes, count.num_dropped)

    def hand_on(self) -> None:
        """Add the difference to the gateway's totals."""
        now = (self._count.num_sent, self._count.num_bytes, self._count.num_dropped)
        counters = (self._metrics.frames, self._metrics.frame_bytes, self._metrics.dropped_frames)
        for counter, new, old in zip(counters, now, self._told, strict=True):
            counter.inc(new - old)
        self._told = now
