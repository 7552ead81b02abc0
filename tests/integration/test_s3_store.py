"""The S3 store against a real S3 server: moto's, in a process of its own on the loopback.

moto's server speaks S3 over HTTP, keeps multipart uploads apart until they are completed and
honours `If-None-Match`; it holds its objects in memory.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from minio import Minio

from services.processes import LOOPBACK, ManagedProcess, free_port
from worldloom.artifacts import MANIFEST_NAME, digest_hex
from worldloom.errors import ArtifactError, StoreError
from worldloom.store import FolderStore
from worldloom.store.s3 import S3Store

BUCKET = "worlds"
PART_BYTES = 5 << 20
TWO_PARTS_AND_A_BIT = 2 * PART_BYTES + 17


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    server = ManagedProcess(
        "moto",
        [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)],
        {**os.environ, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
        tmp_path_factory.mktemp("moto") / "log.txt",
    )

    def answers() -> bool:
        try:
            return urllib3.request("GET", address, retries=False, timeout=2.0).status < 500
        except urllib3.exceptions.HTTPError:
            return False

    server.start()
    try:
        server.wait_until(answers, 60.0)
        yield address
    finally:
        server.stop()


@pytest.fixture
def client(endpoint: str) -> Minio:
    client = Minio(urlsplit(endpoint).netloc, access_key="key", secret_key="secret", secure=False)
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)
    return client


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"team/{request.node.name}"


@pytest.fixture
def store(
    endpoint: str, client: Minio, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> S3Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return S3Store.from_uri(f"s3://{BUCKET}/{prefix}", cache=tmp_path / "cache")


def make_content(root: Path) -> Path:
    folder = root / "my content"
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "inner" / "some notes.txt").write_text("hello")
    return folder


def put(store: S3Store, folder: Path) -> str:
    return store.put(folder, kind="clips", config={"a": 1}, parents={})


def key_of(prefix: str, digest: str, name: str) -> str:
    return f"{prefix}/artifacts/{digest_hex(digest)}/{name}"


def test_stored_artifact_comes_back_whole(store: S3Store, tmp_path: Path) -> None:
    digest = put(store, make_content(tmp_path))
    assert store.has(digest)
    assert store.manifest(digest).kind == "clips"
    folder = store.fetch(digest, kind="clips")
    assert (folder / "weights.bin").read_bytes() == bytes(range(256))
    assert (folder / "inner" / "some notes.txt").read_text() == "hello"
    with pytest.raises(ArtifactError, match="expected 'release'"):
        store.fetch(digest, kind="release")


def test_folder_store_and_bucket_give_the_same_digest(store: S3Store, tmp_path: Path) -> None:
    content = make_content(tmp_path)
    local = FolderStore(tmp_path / "local").put(content, kind="clips", config={"a": 1}, parents={})
    assert put(store, content) == local


def test_large_file_goes_up_in_parts(
    endpoint: str, client: Minio, prefix: str, tmp_path: Path
) -> None:
    http = urllib3.PoolManager()
    store = S3Store(
        client,
        http,
        endpoint=endpoint,
        bucket=BUCKET,
        prefix=prefix,
        cache=tmp_path / "cache",
        part_bytes=PART_BYTES,
    )
    content = make_content(tmp_path)
    (content / "large.bin").write_bytes(os.urandom(TWO_PARTS_AND_A_BIT))
    digest = put(store, content)
    etag = client.stat_object(BUCKET, key_of(prefix, digest, "large.bin")).etag
    assert etag is not None
    assert etag.endswith("-3")
    assert (store.fetch(digest) / "large.bin").read_bytes() == (content / "large.bin").read_bytes()


def test_same_content_is_uploaded_once(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    key = key_of(prefix, digest, "weights.bin")
    first = client.stat_object(BUCKET, key).last_modified
    assert put(store, make_content(tmp_path)) == digest
    assert client.stat_object(BUCKET, key).last_modified == first


def test_flipped_byte_in_the_bucket_is_named(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    data = bytearray(range(256))
    data[7] ^= 1
    key = key_of(prefix, digest, "weights.bin")
    client.put_object(BUCKET, key, io.BytesIO(bytes(data)), 256)
    with pytest.raises(ArtifactError, match=r"weights\.bin is damaged") as caught:
        store.fetch(digest)
    assert digest in str(caught.value)
    assert list((tmp_path / "cache" / "staging").glob("[!.]*")) == []
    assert not (tmp_path / "cache" / "artifacts").exists()


def test_truncated_object_is_damage(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    client.put_object(BUCKET, key_of(prefix, digest, "weights.bin"), io.BytesIO(b"x"), 1)
    with pytest.raises(ArtifactError, match=r"weights\.bin .* has 1 bytes, expected 256"):
        store.has(digest)
    assert put(store, make_content(tmp_path)) == digest
    assert store.fetch(digest).is_dir()


def test_missing_file_is_named(store: S3Store, client: Minio, prefix: str, tmp_path: Path) -> None:
    digest = put(store, make_content(tmp_path))
    client.remove_object(BUCKET, key_of(prefix, digest, "weights.bin"))
    with pytest.raises(ArtifactError, match=r"file weights\.bin is missing in the store"):
        store.fetch(digest)


def test_upload_without_manifest_is_absent_and_can_be_finished(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    client.remove_object(BUCKET, key_of(prefix, digest, MANIFEST_NAME))
    assert not store.has(digest)
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing in the store") as caught:
        store.fetch(digest)
    assert digest in str(caught.value)
    assert put(store, make_content(tmp_path)) == digest
    assert store.has(digest)


def test_damaged_manifest_is_named(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    client.put_object(BUCKET, key_of(prefix, digest, MANIFEST_NAME), io.BytesIO(b"{"), 1)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        store.fetch(digest)


def test_cache_answers_without_the_server_and_mends_itself(
    store: S3Store, client: Minio, prefix: str, tmp_path: Path
) -> None:
    digest = put(store, make_content(tmp_path))
    path = store.fetch(digest) / "weights.bin"
    path.chmod(0o644)
    path.write_bytes(bytes(256))
    assert (store.fetch(digest) / "weights.bin").read_bytes() == bytes(range(256))
    client.remove_object(BUCKET, key_of(prefix, digest, "weights.bin"))
    assert (store.fetch(digest) / "weights.bin").read_bytes() == bytes(range(256))


def test_records_are_read_listed_and_replaced(store: S3Store) -> None:
    assert store.get_record("steps/a.json") is None
    assert store.list_records("") == []
    assert store.put_record("steps/b.json", {"n": 1})
    assert store.put_record("steps/a.json", {"n": 1.5, "l": [None, True]})
    assert store.put_record("latest/a.json", {})
    assert store.put_record("steps/b.json", {"n": 2})
    assert store.get_record("steps/b.json") == {"n": 2}
    assert store.get_record("steps/a.json") == {"n": 1.5, "l": [None, True]}
    assert store.list_records("steps/") == ["steps/a.json", "steps/b.json"]
    assert store.list_records("") == ["latest/a.json", "steps/a.json", "steps/b.json"]


def test_record_if_absent_is_given_to_the_first(store: S3Store, client: Minio, prefix: str) -> None:
    assert store.put_record("lease", {"owner": "a"}, if_absent=True)
    assert not store.put_record("lease", {"owner": "b"}, if_absent=True)
    assert store.get_record("lease") == {"owner": "a"}
    left = [o.object_name for o in client.list_objects(BUCKET, prefix=prefix, recursive=True)]
    assert left == [f"{prefix}/records/lease"]


def test_missing_bucket_is_one_sentence(store: S3Store, tmp_path: Path) -> None:
    absent = S3Store.from_uri("s3://no-such-bucket/x", cache=tmp_path / "cache")
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/x at http.* \(NoSuchBucket"):
        absent.put_record("a", {})
    with pytest.raises(StoreError, match="NoSuchBucket"):
        put(absent, make_content(tmp_path))
    with pytest.raises(StoreError, match="NoSuchBucket"):
        absent.get_record("a")
