"""Ingestion on Ray Data: captures a plan's clips in parallel and writes the clips folder.

Workers capture, judge and encode; the driver logs each finished clip in the scratch folder and
writes the folder in the plan's order at the end, so neither scheduling nor a kill shows in the
bytes. It does not know artifacts or pipelines.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import ray.data

from worldloom.config import digest_of, load_config, resolved
from worldloom.data.capture import (
    CaptureConfig,
    CapturedClip,
    Capturer,
    CaptureTask,
    payload_row,
    plan,
)
from worldloom.data.clips import Row, write_rows
from worldloom.data.commit_log import CommitLog
from worldloom.errors import DataError, MachineError, ServingError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0
TASKS_PER_BATCH = 4
OBJECT_STORE_BYTES = 256 * 2**20
MAX_WORKERS = 8
RESULT_COLUMNS = ("index", "payload", "reasons", "error", "message")
START_ATTEMPTS = 3

Batch = dict[str, Any]


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
        _capture_all(config, todo, log, num_workers or _available_cores())
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


def _available_cores() -> int:
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


def _capture_all(
    config: CaptureConfig, tasks: list[CaptureTask], log: CommitLog, num_workers: int
) -> None:
    """Run the tasks on Ray Data and log each result as it arrives; Ray is closed at the end."""
    with _ray(num_workers):
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        dataset = ray.data.from_items(
            [asdict(task) for task in tasks],
            override_num_blocks=max(1, len(tasks) // TASKS_PER_BATCH),
        ).map_batches(
            _CaptureWorker,
            fn_constructor_args=(config.model_dump_json(),),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(tasks))),
            num_cpus=1,
        )
        progress = _Progress(len(tasks))
        for row in dataset.iter_rows():
            log.add(_result(row))
            progress.step()


@contextmanager
def _ray(num_workers: int) -> Iterator[None]:
    """Hold Ray open, its files in a folder of its own (with a short name: sockets live there)."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        _start_ray(num_workers, folder)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start_ray(num_workers: int, folder: str) -> None:
    """Start Ray on this machine, or join the cluster of `RAY_ADDRESS`.

    Ray gives its own start 30 seconds, which a busy machine may need more than once.

    Raises:
        MachineError: when it did not start in `START_ATTEMPTS` attempts.
    """
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, configure_logging=False)
        return
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=num_workers,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=folder,
            )
        except Exception as error:  # Ray raises the bare class when its processes come up late
            ray.shutdown()
            log_event(logger, "ray_start_failed", logging.WARNING, attempt=attempt)
            if attempt == START_ATTEMPTS:
                message = f"Ray did not start in {attempt} attempts: {error}"
                raise MachineError(message) from error
        else:
            return


class _CaptureWorker:
    """A Ray actor's body: captures batches of tasks with one game engine."""

    def __init__(self, config: str) -> None:
        self._capturer = Capturer(load_config(CaptureConfig, config))

    def __call__(self, batch: Batch) -> Batch:
        """Return a result row for each task; an error of the project travels as text."""
        columns: dict[str, list[object]] = {name: [] for name in RESULT_COLUMNS}
        for values in zip(*batch.values(), strict=True):
            fields = {
                key: value.item() if isinstance(value, np.generic) else value
                for key, value in zip(batch, values, strict=True)
            }
            task = CaptureTask(**fields)
            failed = ("", "")
            try:
                clip = self._capturer.capture(task)
            except (DataError, ServingError) as error:
                clip = CapturedClip(task.index, b"", ())
                failed = (type(error).__name__, str(error))
            columns["index"].append(task.index)
            columns["payload"].append(clip.payload)
            columns["reasons"].append(",".join(clip.reasons))
            columns["error"].append(failed[0])
            columns["message"].append(failed[1])
        return {name: np.array(values, dtype=object) for name, values in columns.items()}


def _result(row: Mapping[str, object]) -> CapturedClip:
    if row["error"]:
        raise (ServingError if row["error"] == "ServingError" else DataError)(str(row["message"]))
    reasons = tuple(reason for reason in str(row["reasons"]).split(",") if reason)
    return CapturedClip(int(cast("int", row["index"])), cast("bytes", row["payload"]), reasons)


class _Progress:
    """A line now and then: how many clips are done, and how long the rest takes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = self._last = time.monotonic()

    def step(self) -> None:
        """Count a clip."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS or self._done == self._total:
            self._last = now
            left = (now - self._started) / self._done * (self._total - self._done)
            log_event(
                logger,
                "clips_captured",
                done=self._done,
                total=self._total,
                seconds_left=round(left),
            )
