"""The S3 store when the server is not there or cannot keep a promise (a fake server)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import urllib3
from minio import Minio

from worldloom.errors import StoreError
from worldloom.store.s3 import S3Store


class OverwritingServer(BaseHTTPRequestHandler):
    """Takes every object and ignores `If-None-Match`, but for the answers in `script`."""

    script: ClassVar[list[int]] = []

    def _answer(self, status: int) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        self._answer(self.script.pop(0) if self.script else 200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def overwriting_server() -> Iterator[str]:
    OverwritingServer.script = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), OverwritingServer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def open_at(address: str, cache: Path) -> S3Store:
    http = urllib3.PoolManager(retries=False, timeout=5.0)
    client = Minio(
        address,
        access_key="key",
        secret_key="secret",
        secure=False,
        region="us-east-1",
        http_client=http,
    )
    return S3Store(
        client, http, endpoint=f"http://{address}", bucket="worlds", prefix="p", cache=cache
    )


def test_server_without_conditional_writes_is_refused(
    overwriting_server: str, tmp_path: Path
) -> None:
    store = open_at(overwriting_server, tmp_path)
    assert store.put_record("a", {})
    for _ in range(2):
        with pytest.raises(StoreError, match="ignores If-None-Match"):
            store.put_record("a", {}, if_absent=True)


def test_conflict_of_two_writers_is_tried_again(overwriting_server: str, tmp_path: Path) -> None:
    store = open_at(overwriting_server, tmp_path)
    OverwritingServer.script = [200, 412, 409, 409, 200, 409, 412]
    assert store.put_record("a", {}, if_absent=True)
    assert not store.put_record("a", {}, if_absent=True)
    OverwritingServer.script = [409] * 5
    with pytest.raises(StoreError, match="the server answered 409"):
        store.put_record("a", {}, if_absent=True)


def test_refused_write_is_one_sentence(overwriting_server: str, tmp_path: Path) -> None:
    store = open_at(overwriting_server, tmp_path)
    OverwritingServer.script = [200, 412, 403]
    with pytest.raises(StoreError, match="the server answered 403"):
        store.put_record("a", {}, if_absent=True)


def test_dead_server_is_one_sentence(tmp_path: Path) -> None:
    store = open_at("127.0.0.1:1", tmp_path)
    content = tmp_path / "content"
    content.mkdir()
    (content / "a").write_text("a")
    digest = "sha256:" + "0" * 64
    for act in (
        lambda: store.get_record("a"),
        lambda: store.put_record("a", {}),
        lambda: store.put_record("a", {}, if_absent=True),
        lambda: store.list_records(""),
        lambda: store.has(digest),
        lambda: store.manifest(digest),
        lambda: store.fetch(digest),
        lambda: store.put(content, kind="clips", config={}, parents={}),
    ):
        with pytest.raises(StoreError, match=r"s3://worlds/p at http://127\.0\.0\.1:1") as caught:
            act()
        assert "\n" not in str(caught.value)
