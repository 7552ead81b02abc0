"""The bucket keeps sessions as the folder does: moto's S3 server, on the loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from services.inference.session_store import SessionStore, open_session_store
from services.processes import LOOPBACK, ManagedProcess, free_port
from worldloom.errors import StoreError
from worldloom.store.s3_connection import connect


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    log = tmp_path_factory.mktemp("moto") / "log"
    argv = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]

    def answers() -> bool:
        try:
            return urllib3.request("GET", address, retries=False, timeout=2.0).status < 500
        except urllib3.exceptions.HTTPError:
            return False

    with ManagedProcess("moto", argv, None, log) as server:
        server.wait_until(answers, 60.0)
        yield address


@pytest.fixture
def store(address: str, monkeypatch: pytest.MonkeyPatch) -> SessionStore:
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    connection = connect("s3://live-sessions/pod")
    if not connection.client.bucket_exists("live-sessions"):
        connection.client.make_bucket("live-sessions")
    return open_session_store("s3://live-sessions/pod")


def test_parts_come_back_in_order_and_can_be_replaced(store) -> None:
    for name, data in (("2", b"two"), ("1", b"old"), ("1", b"one")):
        store.write("../a", name, data)
    assert store.names("../a") == ["1", "2"]
    assert [store.read("../a", name) for name in ("1", "2")] == [b"one", b"two"]
    store.delete("../a", ["1", "absent"])
    assert store.names("../a") == ["2"]
    store.delete("../a", [])


def test_part_that_is_not_there_is_one_sentence(store) -> None:
    assert store.names("never") == []
    with pytest.raises(StoreError, match="reading part 1 of a session: s3://live-sessions/pod"):
        store.read("never", "1")


def test_old_sessions_are_deleted_whole(store) -> None:
    for name in ("1", "2"):
        store.write("b", name, b"data")
    assert store.delete_older_than(3600) == 0
    assert store.names("b") == ["1", "2"]
    assert store.delete_older_than(-60) >= 1
    assert store.names("b") == []


def test_server_that_is_gone_is_one_sentence(store, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{free_port()}")
    gone = open_session_store("s3://live-sessions/pod")
    with pytest.raises(StoreError, match="does not answer"):
        gone.write("a", "1", b"data")


def test_folder_of_the_project_stays_out_of_it(store, tmp_path: Path) -> None:
    open_session_store(str(tmp_path)).write("c", "1", b"data")
    assert store.names("c") == []
