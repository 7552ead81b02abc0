"""Ingestion: captures a plan's clips in parallel and writes the clips folder.

Workers on Ray capture, judge and encode (`ray_capture.py`); each finished clip is logged in the
scratch folder, and the folder is written in the plan's order at the end, so neither scheduling nor
a kill shows in the bytes. It does not know artifacts or pipelines.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from worldloom.config import digest_of, resolved
from worldloom.data.capture import CaptureConfig, CaptureTask, payload_row, plan
from worldloom.data.clips import Row, write_rows
from worldloom.data.commit_log import CommitLog
from worldloom.errors import DataError
from worldloom.log import log_event

logger = logging.getLogger(__name__)


def ingest(
    config: CaptureConfig, folder: Path, *, scratch: Path, num_workers: int | None = None
) -> dict[str, object]:
    """Capture every clip of the config's plan into `folder`; return the summary.

    Args:
        config: What is captured and kept.
        folder: Where the clips folder is written; expected empty.
        scratch: Survives a kill; clips that it holds of the same config are not captured again.
        num_workers: Captures at once, a core each; None: as many as there are cores, within
            bounds. With `RAY_ADDRESS` set they run on that cluster.

    Raises:
        DataError: when a clip breaks its contract, or every clip of a split is dropped.
        ServingError: when the captioner does not answer.
        MachineError: when Ray does not start.
    """
    tasks = plan(config)
    digest = digest_of(resolved(config)).removeprefix("sha256:")
    log = CommitLog(scratch / f"captured-{digest[:16]}")
    done = log.done()
    todo = [task for task in tasks if task.index not in done]
    log_event(logger, "ingestion_started", clips=len(tasks), already_captured=len(done))
    if todo:
        from worldloom.data.ray_capture import capture_all

        capture_all(config, todo, log, num_workers=num_workers)
    return _write(folder, tasks, log)


def _write(folder: Path, tasks: list[CaptureTask], log: CommitLog) -> dict[str, object]:
    dropped: Counter[str] = Counter()
    kept: Counter[str] = Counter()

    def rows() -> Iterator[Row]:
        for task in tasks:
            clip = log.read(task.index)
            dropped.update(clip.reasons)
            if not clip.reasons:
                kept[task.split] += 1
                yield payload_row(clip.payload)

    summary = write_rows(folder, rows(), dropped=dropped)
    for split in {task.split for task in tasks}:
        if not kept[split]:
            message = f"ingestion: no {split} clip is left after filtering ({dict(dropped)})"
            raise DataError(message)
    rate = 1 - sum(kept.values()) / len(tasks)
    log_event(
        logger, "ingestion_done", clips=sum(kept.values()), drop_rate=rate, dropped=dict(dropped)
    )
    return summary
