"""The ingestion step: what was captured before is not captured again, and metrics are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from components.ingestion.ingest import STEP, run
from components.runtime import StepContext
from worldloom.config import digest_of, resolved
from worldloom.data.capture import CaptureConfig, Capturer, SourceCounts, plan
from worldloom.data.clips import clip_index
from worldloom.data.commit_log import CommitLog
from worldloom.data.filters import FilterConfig
from worldloom.data.sources.procedural import ProceduralConfig
from worldloom.errors import DataError
from worldloom.store import FolderStore

CONFIG = CaptureConfig(
    num_frames=17,
    procedural_clips=SourceCounts(train=2, test=2),
    vizdoom_clips=SourceCounts(train=0, test=0),
    procedural=ProceduralConfig(supersample=1),
)


class _Tracker:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        assert params["num_frames"] == 17

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics |= dict(metrics)

    def log_file(self, path: Path, folder: str) -> None:
        self.files.append(path.name)


def _context(folder: Path, config: CaptureConfig, tracker: _Tracker) -> StepContext[CaptureConfig]:
    """Return a step whose scratch holds every clip already, so that nothing starts Ray."""
    digest = digest_of(resolved(config)).removeprefix("sha256:")
    log = CommitLog(folder / "scratch" / f"captured-{digest[:16]}")
    with Capturer(config) as capturer:
        for task in plan(config):
            log.add(capturer.capture(task))
    return StepContext(
        config=config,
        parents={},
        store=FolderStore(folder / "store"),
        scratch=folder / "scratch",
        tracker=tracker,
    )


def test_captured_clips_are_stored_in_the_plans_order(tmp_path: Path) -> None:
    tracker = _Tracker()
    context = _context(tmp_path, CONFIG, tracker)
    outputs = run(context)
    assert set(outputs) == set(STEP.outputs)
    rows = clip_index(context.store.fetch(outputs["clips"], kind="clips"))
    assert [row["split"] for row in rows] == ["train", "train", "test", "test"]
    assert tracker.metrics == {"clips_train": 2, "clips_test": 2, "drop_rate": 0, "frames": 68}
    assert tracker.files == ["drops.json"]
    assert run(_context(tmp_path / "again", CONFIG, _Tracker())) == outputs


def test_an_ingestion_that_drops_everything_says_why(tmp_path: Path) -> None:
    strict = CONFIG.model_copy(update={"filters": FilterConfig(min_sharpness=1e9)})
    with pytest.raises(DataError, match=r"no (train|test) clip is left.*'blur': 4"):
        run(_context(tmp_path, strict, _Tracker()))
