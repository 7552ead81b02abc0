"""Addresses of stores: which store each opens, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldloom.errors import StoreError
from worldloom.store import FolderStore, open_store
from worldloom.store.s3 import S3Store


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_path_and_file_address_open_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my store"
    by_path = open_store(str(folder))
    by_address = open_store(folder.as_uri())
    assert isinstance(by_path, FolderStore)
    assert by_path.uri == by_address.uri == str(folder)


def test_s3_address_opens_a_bucket(tmp_path: Path) -> None:
    store = open_store("s3://worlds/team/a/", cache=tmp_path)
    assert isinstance(store, S3Store)
    assert store.uri == "s3://worlds/team/a"
    assert open_store("s3://worlds", cache=tmp_path).uri == "s3://worlds"


@pytest.mark.parametrize("uri", ["", "http://host/store", "file://host/store", "gs://bucket/x"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="expected a folder"):
        open_store(uri)


def test_missing_keys_and_bucket_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("s3:///prefix", "s3://b/prefix", "s3://Worlds_1/prefix"):
        with pytest.raises(StoreError, match="is no bucket's name"):
            open_store(uri, cache=tmp_path)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="expected AWS_SECRET_ACCESS_KEY to be set"):
        open_store("s3://worlds", cache=tmp_path)
