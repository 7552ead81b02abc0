"""The audit log: who asked for what and what came of it, one JSON object a line.

Keys, tokens, images and the words of prompts are never written; a prompt is its length and digest.
It does not know what decides.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Literal, TextIO

from worldloom.log import log_event

logger = logging.getLogger(__name__)

AuditEvent = Literal["token", "open", "resume", "refuse", "end", "admin"]


class AuditLog:
    """Writes to a file of its own, or to the process's log."""

    def __init__(self, path: str | None) -> None:
        """Append to the file at `path`, or write to the log when there is none."""
        self._file: TextIO | None = None
        if path is not None:
            self._file = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(self, event: AuditEvent, **fields: object) -> None:
        """Write one event."""
        if self._file is None:
            log_event(logger, f"audit_{event}", logging.INFO, **fields)
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = {"time": stamp, "event": event, **fields}
        self._file.write(json.dumps(line, default=str) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def prompt_fields(prompt: str | None) -> dict[str, object]:
    """Return what may be said of a prompt: that there was one, and which."""
    if prompt is None:
        return {}
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:16]
    return {"prompt_length": len(prompt), "prompt_sha256": digest}
