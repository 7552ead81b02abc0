"""Make the bucket of a store, once: what a fresh cluster runs before anything else.

`python -m services.make_bucket s3://bucket/prefix`; endpoint and keys come from the environment. It
does not know what the bucket will hold.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from worldloom.errors import WorldloomError
from worldloom.log import configure_logging, log_event
from worldloom.store.s3 import S3Store

logger = logging.getLogger("services.make_bucket")  # also when run as a program


def main(arguments: Sequence[str]) -> int:
    """Make the bucket and return the exit code."""
    parser = argparse.ArgumentParser(description="Make the bucket of a store.")
    parser.add_argument("uri", help="address of the store, s3://bucket/prefix")
    given = parser.parse_args(arguments)
    configure_logging()
    try:
        is_new = S3Store.from_uri(given.uri, cache=Path("cache")).make_bucket()
    except WorldloomError as error:
        log_event(logger, "bucket_failed", logging.ERROR, message=str(error))
        return error.exit_code
    log_event(logger, "bucket_ready", uri=given.uri, is_new=is_new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
