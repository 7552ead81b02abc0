"""Traces of actions: from an action's receipt to the first frame sent that obeys it.

A trace is built when that frame goes, from the gateway's own times and those that the engine tells
with the segment: forward, wait, generate, encode, deliver. Without a collector nothing is recorded
and nothing is sent. It does not know sessions.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services import contract

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

_SERVICE = "worldloom-gateway"
_MAX_PENDING = 512  # messages a session whose frames have not gone
_NANOSECONDS = 1_000_000_000


class Tracing:
    """Makes the traces of sessions, or none."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """Hand spans to a processor; without one there are none."""
        self._provider: TracerProvider | None = None
        if processor is not None:
            self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: _SERVICE}))
            self._provider.add_span_processor(processor)

    @classmethod
    def to_collector(cls, endpoint: str) -> Tracing:
        """Send spans in batches to an OTLP collector's URL."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint)))

    def of_session(self, session_id: str, traceparent: str) -> ActionTraces | None:
        """Return what traces a session's actions, None when nothing is recorded.

        With a W3C traceparent the actions belong to the client's trace, else each has its own.
        """
        if self._provider is None:
            return None
        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
        return ActionTraces(self._provider.get_tracer(_SERVICE), parent, session_id)

    def close(self) -> None:
        """Send what waits."""
        if self._provider is not None:
            self._provider.shutdown()


@dataclass
class _Pending:
    """One message of actions on its way; times are nanoseconds since 1970."""

    action_index: int
    num_actions: int
    received_at: int
    forwarded_at: int = 0
    arrived_at: int = 0
    event: contract.FramesEvent | None = None


class ActionTraces:
    """The traces of one session's actions."""

    def __init__(self, tracer: Tracer, parent: Context, session_id: str) -> None:
        """Begin with none on their way."""
        self._tracer = tracer
        self._parent = parent
        self._session_id = session_id
        self._pending: deque[_Pending] = deque(maxlen=_MAX_PENDING)

    def received(self, action_index: int, num_actions: int) -> None:
        """Note that a message of actions came; it replaces those that the engine has refused."""
        while self._pending and self._pending[-1].action_index >= action_index:
            self._pending.pop()
        self._pending.append(_Pending(action_index, num_actions, time.time_ns()))

    def forwarded(self, action_index: int) -> None:
        """Note that the engine has taken a message."""
        for pending in self._pending:
            if pending.action_index == action_index:
                pending.forwarded_at = time.time_ns()

    def made(self, event: contract.FramesEvent, last_action_index: int) -> None:
        """Note that a segment came which obeys the actions up to this one."""
        for pending in self._pending:
            if pending.event is None and pending.action_index <= last_action_index:
                pending.event = event
                pending.arrived_at = time.time_ns()

    def sent(self, action_index: int) -> None:
        """Note that a frame went which obeys this action."""
        while self._pending:
            pending = self._pending[0]
            if pending.event is None or pending.action_index > action_index:
                return
            self._trace(self._pending.popleft(), pending.event)

    def _trace(self, pending: _Pending, event: contract.FramesEvent) -> None:
        sent_at = time.time_ns()
        forwarded_at = pending.forwarded_at or pending.received_at
        # The engine tells how long things took, not when: they end as its segment arrived.
        encode = pending.arrived_at - int(event.encode_seconds * _NANOSECONDS)
        generate = encode - int(event.segment_seconds * _NANOSECONDS)
        root = self._tracer.start_span(
            "action",
            self._parent,
            start_time=pending.received_at,
            attributes={
                "session_id": self._session_id,
                "action_index": pending.action_index,
                "num_actions": pending.num_actions,
                "segment_index": event.segment_index,
                "slack_seconds": event.slack_seconds,
            },
        )
        steps = [
            ("forward", pending.received_at, forwarded_at),
            ("wait", forwarded_at, max(forwarded_at, generate)),
            ("generate", max(forwarded_at, generate), max(forwarded_at, encode)),
            ("encode", max(forwarded_at, encode), pending.arrived_at),
            ("deliver", pending.arrived_at, sent_at),
        ]
        within = set_span_in_context(root, self._parent)
        for name, begin, end in steps:
            self._tracer.start_span(name, within, start_time=begin).end(end_time=end)
        root.end(end_time=sent_at)
