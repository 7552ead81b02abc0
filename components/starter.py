"""Starter weights: files of a folder that the environment names, checked by their digest.

A step's config holds the digest, so weights that change make the step run again; where the folder
lies does not matter.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from worldloom.errors import ArtifactError

STARTER_VARIABLE = "WORLDLOOM_STARTER"


def starter_folder(part: str, weights: str, digest: str) -> Path:
    """Return the folder of one part (such as `base`) of the starter.

    Raises:
        ArtifactError: when no folder is named, or its weights are not those of the digest.
    """
    root = os.environ.get(STARTER_VARIABLE, "")
    path = Path(root) / part / weights
    if not root or not path.is_file():
        message = f"{STARTER_VARIABLE}={root!r}: no {part}/{weights} there, expected {digest}"
        raise ArtifactError(message)
    actual = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != digest:
        message = f"{path}: its digest is {actual}, expected {digest}"
        raise ArtifactError(message)
    return path.parent
