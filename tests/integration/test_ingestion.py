"""Ingestion on Ray with the real engine: the same bytes as one by one, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from worldloom.data.capture import CaptureConfig, Capturer, SourceCounts, payload_row, plan
from worldloom.data.clips import write_rows
from worldloom.data.sources.procedural import ProceduralConfig
from worldloom.store import FolderStore

ROOT = Path(__file__).parents[2]
CONFIG = CaptureConfig(
    num_frames=17,
    procedural_clips=SourceCounts(train=3, test=1),
    vizdoom_clips=SourceCounts(train=3, test=1),
    procedural=ProceduralConfig(supersample=1),
)
RUN_STEP = """
import sys
from components.ingestion.ingest import STEP, run
from components.runtime import execute
print(execute(STEP, run, config=sys.argv[1], parents={}, code="")["clips"])
"""


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files that plain, serial capture gives."""
    folder = tmp_path_factory.mktemp("serial")
    with Capturer(CONFIG) as capturer:
        captured = [capturer.capture(task) for task in plan(CONFIG)]
    dropped = Counter(reason for clip in captured for reason in clip.reasons)
    kept = (payload_row(clip.payload) for clip in captured if not clip.reasons)
    write_rows(folder, kept, dropped=dropped)
    return _contents(folder)


def _start(home: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "WORLDLOOM_HOME": str(home),
        "WORLDLOOM_STORE": str(home / "store"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN_STEP, CONFIG.model_dump_json()],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def _captured(home: Path) -> int:
    return len(list(home.glob("scratch/*/captured-*/*.arrow")))


def test_a_killed_ingestion_goes_on_by_clip_and_ends_with_the_same_bytes(
    tmp_path: Path, one_by_one: dict[str, bytes]
) -> None:
    killed = _start(tmp_path)
    deadline = time.monotonic() + 200
    while not _captured(tmp_path):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("scratch/*/captured-*/*.arrow")}
    assert kept

    again = _start(tmp_path)
    output, _ = again.communicate(timeout=250)
    assert again.returncode == 0
    digest = output.split()[-1]
    store = FolderStore(tmp_path / "store")
    assert _contents(store.fetch(digest, kind="clips")) == one_by_one
    assert not list(tmp_path.glob("scratch/*/captured-*"))
