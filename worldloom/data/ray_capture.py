"""Captures clips on Ray Data: an actor a core, each with a game engine of its own.

Results come back as they are finished, in any order; an error of the project travels as text and
is raised again here. It does not know what becomes of the clips.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import ray
import ray.data

from worldloom.config import load_config
from worldloom.data.capture import CaptureConfig, CapturedClip, Capturer, CaptureTask
from worldloom.data.commit_log import CommitLog
from worldloom.errors import DataError, MachineError, ServingError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0
TASKS_PER_BATCH = 4
OBJECT_STORE_BYTES = 256 * 2**20
MAX_WORKERS = 8
START_ATTEMPTS = 3
RESULT_COLUMNS = ("index", "payload", "reasons", "error", "message")

Batch = dict[str, Any]


def _available_cores() -> int:
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


def capture_all(
    config: CaptureConfig,
    tasks: list[CaptureTask],
    log: CommitLog,
    *,
    num_workers: int | None = None,
) -> None:
    """Run the tasks on Ray Data and log each result as it arrives; Ray is closed at the end.

    Args:
        config: What is captured and kept.
        tasks: What is left to capture.
        log: Where finished clips go.
        num_workers: Captures at once, a core each; None: as many as there are cores, at most
            `MAX_WORKERS`. With `RAY_ADDRESS` set they run on that cluster.

    Raises:
        DataError: when a clip breaks its contract.
        ServingError: when the captioner does not answer.
        MachineError: when Ray does not start.
    """
    workers = num_workers or _available_cores()
    with _ray(workers):
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        dataset = ray.data.from_items(
            [asdict(task) for task in tasks],
            override_num_blocks=max(1, len(tasks) // TASKS_PER_BATCH),
        ).map_batches(
            CaptureWorker,
            fn_constructor_args=(config.model_dump_json(),),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
            num_cpus=1,
        )
        progress = _Progress(len(tasks))
        for row in dataset.iter_rows():
            log.add(result_of(row))
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


class CaptureWorker:
    """A Ray actor's body: captures batches of tasks with one game engine."""

    def __init__(self, config: str) -> None:
        """Take a `CaptureConfig` as JSON text."""
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


def result_of(row: Mapping[str, object]) -> CapturedClip:
    """Return the clip of a worker's result row, or raise the error that it tells of."""
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
