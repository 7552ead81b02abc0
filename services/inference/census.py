"""How full the engine is, told to its gauges now and then, and only where something has changed.

It does not know where metrics go.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from services.inference.engine_config import EngineConfig
from services.inference.metrics import EngineMetrics, Gauge
from services.inference.sessions import Sessions


class Census:
    """Counts the sessions of one engine."""

    def __init__(
        self,
        config: EngineConfig,
        sessions: Sessions,
        metrics: EngineMetrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        """Count these sessions."""
        self._every_seconds = config.watch_seconds
        self._num_slots = config.num_slots
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._told: dict[Gauge, float] = {}
        self._next_at = -math.inf

    def take(self) -> None:
        """Tell the gauges how things stand, if it is time or nobody is there any more."""
        now = self._clock()
        with self._sessions.changed:
            live = self._sessions.live
            if live and now < self._next_at:
                return
            slacks = [session.slack_seconds for session in live if session.has_slot]
            values = {
                self._metrics.slots: self._num_slots,
                self._metrics.sessions: self._sessions.num_slots_used,
                self._metrics.parked_sessions: self._sessions.num_waiting,
                self._metrics.queued_actions: sum(session.num_queued for session in live),
                self._metrics.min_slack_seconds: min(slacks, default=math.inf),
            }
        self._next_at = now + self._every_seconds
        for gauge, value in values.items():
            if self._told.get(gauge) != value:
                self._told[gauge] = value
                gauge.set(value)
