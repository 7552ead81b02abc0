from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.client.api_key import fetch_token
from services.contract import ErrorCode, SessionError


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/token", keys
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_key_becomes_a_token() -> None:
    with answering(200, b'{"token": "t", "expires_in": 60}') as (url, keys):
        assert fetch_token(url, "key", timeout_seconds=5) == "t"
    assert keys == ["Bearer key"]


@pytest.mark.slow
def test_a_refused_key_raises_the_gateways_code() -> None:
    with answering(401, b'{"code": "bad_key", "message": "no such key"}') as (url, _):
        with pytest.raises(SessionError, match="no such key") as caught:
            fetch_token(url, "key", timeout_seconds=5)
        assert caught.value.code is ErrorCode.BAD_KEY


@pytest.mark.slow
@pytest.mark.parametrize(("status", "body"), [(200, b"{}"), (502, b"<html>"), (500, b"[]")])
def test_an_answer_of_something_else_is_one_sentence(status: int, body: bytes) -> None:
    with answering(status, body) as (url, _):
        with pytest.raises(SessionError, match=f"no token from {url}: it") as caught:
            fetch_token(url, "key", timeout_seconds=5)
        assert caught.value.code is ErrorCode.INTERNAL


def test_nobody_there_may_be_tried_again() -> None:
    with pytest.raises(SessionError, match="does not answer") as caught:
        fetch_token("http://127.0.0.1:9/v1/token", "key", timeout_seconds=5)
    assert caught.value.is_retryable
