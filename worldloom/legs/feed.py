"""Processes that render clips into a folder while something else trains on them.

Held-out clips come first; then sources take turns. A clip that is there already is not rendered
again, so a second leg on the same machine starts warm. It does not know what is trained.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from itertools import zip_longest
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType

from worldloom.config import load_config
from worldloom.data.capture import CaptureConfig, Capturer, CaptureTask, plan
from worldloom.errors import MachineError
from worldloom.legs.clip_file import clip_path, is_done, mark_dropped, write_clip
from worldloom.legs.config import FeedConfig
from worldloom.memory.config import RetrievalConfig
from worldloom.model.config import TransformerConfig

logger = logging.getLogger(__name__)

_JOIN_SECONDS = 10.0
# Rendering takes what is left of the cores: launching a step's kernels, and compiling them, is the
# work of one thread, which a dozen renderers would keep waiting.
_NICENESS = 10


class Feed:
    """The rendering processes of a leg."""

    def __init__(
        self,
        config: FeedConfig,
        folder: Path,
        shape: TransformerConfig,
        retrieval: RetrievalConfig,
    ) -> None:
        """Start nothing yet."""
        self.config, self.folder = config, folder
        height, width = shape.frame_size
        captures = [
            config.capture(height, width, is_held_out=is_held_out).model_dump_json()
            for is_held_out in (True, False)
        ]
        cores = len(os.sched_getaffinity(0))
        self.num_workers = config.num_workers or max(1, cores - 2)
        spawn = multiprocessing.get_context("spawn")
        self._is_over = spawn.Event()
        texts = (shape.model_dump_json(), retrieval.model_dump_json())
        self._workers = [
            spawn.Process(
                target=render_beside,
                args=(folder, captures, texts, (number, self.num_workers), self._is_over),
                daemon=True,
            )
            for number in range(self.num_workers)
        ]

    def __enter__(self) -> Feed:
        """Begin to render."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop rendering, also in the middle of a clip."""
        self._is_over.set()
        for worker in self._workers:
            worker.join(timeout=0 if exception_type else _JOIN_SECONDS)
            if worker.is_alive():
                worker.terminate()
                worker.join()

    def require_alive(self) -> None:
        """Raise `MachineError` if a process ended with an error."""
        for number, worker in enumerate(self._workers):
            if worker.exitcode:
                message = (
                    f"rendering process {number} of {self.num_workers} ended with code "
                    f"{worker.exitcode}, expected it to go on (its error is above)"
                )
                raise MachineError(message)


def tasks_of(captures: list[CaptureConfig]) -> list[tuple[CaptureConfig, CaptureTask]]:
    """Return every clip to render in its order: captures in turn, sources within one in turn."""
    tasks: list[tuple[CaptureConfig, CaptureTask]] = []
    for capture in captures:
        by_source: dict[str, list[CaptureTask]] = {}
        for task in plan(capture):
            by_source.setdefault(task.source, []).append(task)
        for turn in zip_longest(*by_source.values()):
            tasks += [(capture, task) for task in turn if task is not None]
    return tasks


def render_beside(
    folder: Path,
    captures: list[str],
    texts: tuple[str, str],
    share: tuple[int, int],
    is_over: Event,
) -> None:
    """Render one process's share of the clips, giving way to what trains on them."""
    os.nice(_NICENESS)
    render_share(folder, captures, texts, share, is_over)


def render_share(
    folder: Path,
    captures: list[str],
    texts: tuple[str, str],
    share: tuple[int, int],
    is_over: Event,
) -> None:
    """Render one process's share of the clips: every `share[1]`-th from `share[0]` on."""
    import torch

    torch.set_num_threads(1)
    shape = load_config(TransformerConfig, texts[0])
    retrieval = load_config(RetrievalConfig, texts[1])
    parsed = [load_config(CaptureConfig, text) for text in captures]
    capturers = {id(capture): Capturer(capture) for capture in parsed}
    try:
        for index, (capture, task) in enumerate(tasks_of(parsed)):
            if is_over.is_set():
                return
            path = clip_path(folder, task.split, index)
            if index % share[1] != share[0] or is_done(path):
                continue
            clip = capturers[id(capture)].record(task)
            if clip is None:
                mark_dropped(path)
            else:
                write_clip(path, clip, shape, retrieval)
    finally:
        for capturer in capturers.values():
            capturer.close()
