from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from services.make_bucket import main
from worldloom.errors import StoreError


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take back what the program's logging set-up changed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line: dict[str, object] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return line


def test_missing_keys_are_named(monkeypatch, capsys) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert main(["s3://worlds"]) == StoreError.exit_code
    assert "AWS_ACCESS_KEY_ID" in str(last_line(capsys)["message"])


def test_a_name_that_no_bucket_has_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert main(["s3://No Bucket"]) == StoreError.exit_code
    assert "is no bucket's name" in str(last_line(capsys)["message"])
