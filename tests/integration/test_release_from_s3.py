"""What a fresh cluster does before it serves: make the bucket, put a release, fetch it in a pod.

Against moto's S3 server in a process of its own on the loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from services.processes import LOOPBACK, ManagedProcess, free_port
from worldloom.artifacts import digest_hex, verify_folder
from worldloom.store import open_store

ROOT = Path(__file__).parents[2]
STORE = "s3://worlds/demo"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    server = ManagedProcess(
        "moto",
        [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)],
        None,
        tmp_path / "moto.log",
    )

    def answers() -> bool:
        try:
            return urllib3.request("GET", address, retries=False, timeout=2.0).status < 500
        except urllib3.exceptions.HTTPError:
            return False

    server.start()
    server.wait_until(answers, 60.0)
    names = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    yield {**os.environ, **names, "PYTHONPATH": str(ROOT)}
    server.stop()


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_bucket_release_repository(tmp_path: Path, environment: dict[str, str]) -> None:
    for is_new in ("true", "false"):
        made = run(environment, "services.make_bucket", STORE)
        assert made.returncode == 0, made.stderr
        assert f'"is_new": {is_new}' in made.stderr
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "release.json").write_text("{}")
    store = open_store(STORE, cache=tmp_path / "cache")
    digest = store.put(folder, kind="release", config={}, parents={})

    fetched = run(
        environment,
        "services.inference.fetch_release",
        f"--release={STORE}/artifacts/{digest_hex(digest)}",
        f"--digest={digest}",
        f"--home={tmp_path / 'pod'}",
    )
    assert fetched.returncode == 0, fetched.stderr
    served = tmp_path / "pod" / "model_repository" / "world" / "1" / "release"
    assert verify_folder(served, digest).kind == "release"
