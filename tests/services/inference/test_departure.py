"""Waiting for the sessions of a pod, by the metrics of a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.inference.departure import WAITED_FOR, main, num_sessions, parse, wait_until_empty
from services.inference.drain import DRAIN_VARIABLE, DrainSign
from services.inference.metrics import EngineMetrics, RecordedMetrics

FULL = 'worldloom_engine_sessions{model="world",version="1"} 2\n'
PARKED = "worldloom_engine_sessions 0\nworldloom_engine_parked_sessions 1\n"
EMPTY = "worldloom_engine_sessions 0\nworldloom_engine_parked_sessions 0\n"


class MetricsServer:
    """Answers with one text after another, and with the last one from then on."""

    def __init__(self, texts: list[str]) -> None:
        self.num_asked = 0
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = texts[min(served.num_asked, len(texts) - 1)].encode()
                served.num_asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/metrics"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[type[MetricsServer]]:
    servers: list[MetricsServer] = []

    def start(*texts: str) -> MetricsServer:
        servers.append(MetricsServer(list(texts)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_it_waits_for_sessions_that_play_and_for_those_that_are_parked(serve) -> None:
    server = serve(FULL, PARKED, EMPTY)
    assert wait_until_empty(server.address, 60, 0.01) == 0
    assert server.num_asked == 4


def test_a_session_that_has_just_come_is_waited_for_though_it_is_not_counted_yet(serve) -> None:
    server = serve(EMPTY, FULL, EMPTY)
    assert wait_until_empty(server.address, 60, 0.01) == 0
    assert server.num_asked == 4


def test_it_waits_no_longer_than_it_was_told(serve) -> None:
    assert wait_until_empty(serve(FULL).address, 0.05, 0.01) == 2


def test_an_engine_that_does_not_say_may_have_sessions(serve) -> None:
    server = serve("nv_cpu_utilization 0.5\n", EMPTY)
    assert wait_until_empty(server.address, 60, 0.01) == 0
    assert server.num_asked == 3
    assert wait_until_empty(serve("").address, 0.0, 0.01) is None


def test_a_server_that_is_gone_has_none(serve) -> None:
    server = serve(EMPTY)
    server.stop()
    assert wait_until_empty(server.address, 60, 0.01) == 0


def test_other_metrics_are_not_mistaken_for_sessions() -> None:
    text = "# HELP worldloom_engine_sessions x\nworldloom_engine_sessions_opened_total 9\n" + FULL
    assert num_sessions(text) == 2


def test_the_engine_exports_what_is_waited_for() -> None:
    factory = RecordedMetrics()
    metrics = EngineMetrics(factory)
    metrics.sessions.set(0)
    metrics.parked_sessions.set(0)
    exported = {f"worldloom_engine_{name}" for name in factory.values}
    assert set(WAITED_FOR) <= exported


@pytest.mark.slow
def test_the_program_ends_well_when_nobody_plays(serve) -> None:
    given = ["--leave-seconds=0", "--drain-seconds=60", f"--metrics={serve(EMPTY).address}"]
    assert parse(given).drain_seconds == 60
    assert main(given) == 0


@pytest.mark.slow
def test_sessions_that_are_left_are_handed_over(serve, tmp_path, monkeypatch) -> None:
    sign = tmp_path / "drain"
    monkeypatch.setenv(DRAIN_VARIABLE, str(sign))
    server = serve(FULL, EMPTY)
    given = ["--leave-seconds=0", "--drain-seconds=0", "--handover-seconds=7"]
    assert main([*given, f"--metrics={server.address}"]) == 0
    assert DrainSign(sign, clock=lambda: 100.0).end_at() == 107.0
    assert server.num_asked == 3


@pytest.mark.slow
def test_nobody_is_handed_over_when_all_have_finished(serve, tmp_path, monkeypatch) -> None:
    sign = tmp_path / "drain"
    monkeypatch.setenv(DRAIN_VARIABLE, str(sign))
    main(["--leave-seconds=0", "--drain-seconds=60", f"--metrics={serve(EMPTY).address}"])
    assert not sign.exists()
