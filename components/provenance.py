"""Who made something: commit, run, time and machine, for records that no digest covers.

It does not know what was made.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from worldloom.config import JsonValue

_ENVIRONMENT = {
    "pipeline_run_id": "WORLDLOOM_RUN_ID",
    "image_digest": "WORLDLOOM_IMAGE_DIGEST",
    "threads": "OMP_NUM_THREADS",
}


def provenance(*, tracking_run_id: str) -> dict[str, JsonValue]:
    """Return what is known of this process; an unknown value is None.

    Args:
        tracking_run_id: the tracking server's run; empty if nothing is tracked.
    """
    known: dict[str, JsonValue] = {
        name: os.environ.get(variable) for name, variable in _ENVIRONMENT.items()
    }
    return known | {
        "tracking_run_id": tracking_run_id or None,
        "commit": source_commit(),
        "machine": platform.machine(),
        "host": platform.node(),
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }


@cache
def source_commit() -> str | None:
    """Return the commit of the sources: `WORLDLOOM_COMMIT` in an image, else what git says."""
    stated = os.environ.get("WORLDLOOM_COMMIT")
    if stated:
        return stated
    folder = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # an image without git that was not told its commit
        return None
    return answer.stdout.strip() or None
