"""The commit log: finished clips are remembered, half-written ones are not."""

from __future__ import annotations

from pathlib import Path

from worldloom.data.capture import CapturedClip
from worldloom.data.commit_log import CommitLog


def test_finished_clips_are_found_by_the_next_run(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "log")
    kept = CapturedClip(3, b"payload", ())
    dropped = CapturedClip(11, b"", ("blur", "static"))
    log.add(kept)
    log.add(dropped)
    again = CommitLog(tmp_path / "log")
    assert again.done() == {3, 11}
    assert again.read(3) == kept
    assert again.read(11) == dropped


def test_a_half_written_clip_does_not_count(tmp_path: Path) -> None:
    log = CommitLog(tmp_path)
    (tmp_path / "0000004.arrow.partial").write_bytes(b"half")
    assert log.done() == set()
