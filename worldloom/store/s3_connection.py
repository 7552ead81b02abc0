"""How any S3 server is reached: its address, the keys from the environment, what went wrong.

It does not know what is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from worldloom.errors import StoreError

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class S3Connection:
    """A bucket on a server, and a prefix in it.

    Attributes:
        client: signs and sends requests.
        http: the client's own connections, for requests that it lacks.
        endpoint: the server's address, for messages.
        bucket: name of the bucket.
        prefix: what keys begin with, as it was given.
    """

    client: Minio
    http: urllib3.PoolManager
    endpoint: str
    bucket: str
    prefix: str


def connect(uri: str) -> S3Connection:
    """Reach `s3://bucket/prefix` on the server and with the keys that the environment names.

    Raises:
        StoreError: if a key is missing or the bucket's name is none.
    """
    parts = urlsplit(uri)
    missing = [
        name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)
    ]
    if missing:
        message = f"artifact store {uri}: expected {' and '.join(missing)} to be set"
        raise StoreError(message)
    if not _BUCKET_NAME.fullmatch(parts.netloc):
        message = (
            f"artifact store {uri}: {parts.netloc!r} is no bucket's name, expected 3 to 63 of"
            " a-z, 0-9, dot and hyphen"
        )
        raise StoreError(message)
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"
    address = urlsplit(endpoint)
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5.0, read=120.0),
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    client = Minio(
        address.netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        session_token=os.environ.get("AWS_SESSION_TOKEN"),
        secure=address.scheme != "http",
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        http_client=http,
    )
    return S3Connection(client, http, endpoint, parts.netloc, parts.path)


@contextmanager
def s3_errors(action: str, uri: str, endpoint: str) -> Iterator[None]:
    """Turn a server's refusal or silence into one sentence.

    Raises:
        StoreError: saying what was being done, where, and what the server answered.
    """
    try:
        yield
    except S3Error as error:
        message = f"{action}: {uri} at {endpoint} refused ({error.code})"
        raise StoreError(message) from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        message = f"{action}: {uri} at {endpoint} does not answer ({error})"
        raise StoreError(message) from error
