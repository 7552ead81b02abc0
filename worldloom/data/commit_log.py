"""Which clips of an ingestion are done: a file each, so that a killed one goes on by clip.

A kept clip's file holds its payload, a dropped one's the reasons; both are written beside their
place and moved there, so a file is whole or missing. It does not know what a payload holds.
"""

from __future__ import annotations

import json
from pathlib import Path

from worldloom.data.capture import CapturedClip

KEPT_SUFFIX = ".arrow"
DROPPED_SUFFIX = ".json"


class CommitLog:
    """The finished clips of one plan, in a folder that is this plan's alone."""

    def __init__(self, folder: Path) -> None:
        """Open the log; the folder is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def done(self) -> set[int]:
        """Return the indices of the clips that need not be captured again."""
        return {
            int(path.stem)
            for path in self._folder.iterdir()
            if path.suffix in (KEPT_SUFFIX, DROPPED_SUFFIX)
        }

    def add(self, clip: CapturedClip) -> None:
        """Record a finished clip."""
        if clip.reasons:
            self._write(self._path(clip.index, DROPPED_SUFFIX), json.dumps(clip.reasons).encode())
        else:
            self._write(self._path(clip.index, KEPT_SUFFIX), clip.payload)

    def read(self, index: int) -> CapturedClip:
        """Return a finished clip."""
        dropped = self._path(index, DROPPED_SUFFIX)
        if dropped.is_file():
            return CapturedClip(index, b"", tuple(json.loads(dropped.read_text())))
        return CapturedClip(index, self._path(index, KEPT_SUFFIX).read_bytes(), ())

    def _path(self, index: int, suffix: str) -> Path:
        return self._folder / f"{index:07d}{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)
