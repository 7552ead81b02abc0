"""The sign by which an engine learns that its server is about to stop.

Triton tells a model of its end only once the model's last request is over, and a session is one
request. So whoever stops a server first writes a file that the engine looks for: sessions that can
be resumed are stored and handed over at once, the others get the seconds that the file names. This
module does not know sessions or servers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

DRAIN_VARIABLE = "WORLDLOOM_DRAIN_FILE"


class DrainSign:
    """Tells whether the engine is to come to an end, and when."""

    def __init__(
        self, path: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look for a file at `path`; without one nobody asks."""
        self._path = path
        self._clock = clock
        self._end_at: float | None = None

    def end_at(self) -> float | None:
        """Return when the last sessions are to end, None while nobody has asked."""
        if self._end_at is None and self._path is not None and self._path.exists():
            self._end_at = self._clock() + _seconds_in(self._path)
        return self._end_at


def ask_to_drain(path: Path, seconds: float) -> None:
    """Ask the engine that looks for this file to end within some seconds."""
    written = path.with_suffix(".new")
    written.write_text(f"{seconds:g}\n")
    written.replace(path)


def _seconds_in(path: Path) -> float:
    text = path.read_text().strip()
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0
