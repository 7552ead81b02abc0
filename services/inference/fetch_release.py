"""Fetch a release from its store, verify it and lay out the model repository that serves it.

What a pod runs before Triton starts: `python -m services.inference.fetch_release --release
s3://bucket/prefix/artifacts/<hex> --digest sha256:<hex> --home FOLDER`. The model repository links
to the verified copy, so server and fetcher must see the home folder at the same path. It does not
know which release should be served.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from services.inference.repository import RepositoryConfig, build_repository
from worldloom.artifacts import digest_hex
from worldloom.config import load_config
from worldloom.errors import ArtifactError, WorldloomError
from worldloom.log import configure_logging, log_event
from worldloom.store import open_store

logger = logging.getLogger("services.inference.fetch_release")  # also when run as a program


def store_of(release: str, digest: str) -> str:
    """Return the address of the store in which an artifact's address lies.

    Raises:
        ArtifactError: when the address is not that of the artifact with this digest.
    """
    ending = f"/artifacts/{digest_hex(digest)}"
    if not release.endswith(ending):
        message = f"release {release}: expected an address that ends in {ending}"
        raise ArtifactError(message)
    return release.removesuffix(ending)


def fetch_release(release: str, digest: str, home: Path, config: RepositoryConfig) -> Path:
    """Return the folder of a model repository that serves this release.

    Raises:
        ArtifactError: when the release is missing, damaged or no release.
        StoreError: when the store does not answer.
    """
    store = open_store(store_of(release, digest), cache=home / "cache")
    folder = store.fetch(digest, kind="release")
    return build_repository(home / "model_repository", folder, config, digest=digest)


def main(arguments: Sequence[str]) -> int:
    """Fetch a release and return the exit code."""
    parser = argparse.ArgumentParser(description="Fetch and verify a release for serving.")
    parser.add_argument("--release", required=True, help="address of the artifact")
    parser.add_argument("--digest", required=True, help="digest that it must have")
    parser.add_argument("--home", required=True, type=Path, help="folder for copy and repository")
    parser.add_argument("--config", default="{}", help="JSON of the repository's configuration")
    given = parser.parse_args(arguments)
    configure_logging()
    try:
        config = load_config(RepositoryConfig, given.config, where="config")
        repository = fetch_release(given.release, given.digest, given.home, config)
    except WorldloomError as error:
        log_event(logger, "release_failed", logging.ERROR, message=str(error))
        return error.exit_code
    log_event(logger, "release_ready", digest=given.digest, repository=str(repository))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
