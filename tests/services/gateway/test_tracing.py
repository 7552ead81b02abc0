"""Traces from action to frame."""

from __future__ import annotations

import itertools

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.gateway.tracing import Tracing

pytestmark = pytest.mark.anyio
STEPS = ["forward", "wait", "generate", "encode", "deliver"]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(gateway, exporter):
    return gateway(tracing=Tracing(SimpleSpanProcessor(exporter)))


async def test_each_message_of_actions_has_a_trace_to_its_first_frame(traced, exporter) -> None:
    async with traced as running, running.connect() as player:
        ready = await player.open()
        await player.act(0, 4)
        await player.until_frame(4)
        await player.act(4, 8)
        await player.until_frame(12)
        await running.until(lambda: len(exporter.get_finished_spans()) == 12)
    spans = exporter.get_finished_spans()
    roots = [span for span in spans if span.parent is None]
    told = [(root.attributes["action_index"], root.attributes["num_actions"]) for root in roots]
    assert told == [(0, 4), (4, 8)]
    assert len({root.context.trace_id for root in roots}) == 2
    for root in roots:
        assert root.attributes["session_id"] == ready.session_id
        children = [span for span in spans if span.parent is not None]
        steps = [span for span in children if span.parent.span_id == root.context.span_id]
        assert [step.name for step in steps] == STEPS
        assert steps[0].start_time == root.start_time
        assert steps[-1].end_time == root.end_time
        for before, after in itertools.pairwise(steps):
            assert before.start_time <= before.end_time == after.start_time


async def test_a_clients_own_trace_goes_on(traced, exporter) -> None:
    async with traced as running, running.connect() as player:
        await player.open(traceparent=TRACEPARENT)
        await player.act(0, 4)
        await player.until_frame(4)
        await running.until(lambda: len(exporter.get_finished_spans()) == 6)
    assert {format(s.context.trace_id, "032x") for s in exporter.get_finished_spans()} == {TRACE_ID}


async def test_a_traceparent_that_is_none_is_passed_over(traced, exporter) -> None:
    async with traced as running, running.connect() as player:
        await player.open(traceparent="nonsense")
        await player.act(0, 4)
        await player.until_frame(4)
        await running.until(lambda: len(exporter.get_finished_spans()) == 6)


def test_nothing_is_recorded_without_a_collector() -> None:
    assert Tracing().of_session("s", TRACEPARENT) is None
