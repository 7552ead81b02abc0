"""Batches drawn ahead of the step that takes them, in a thread of its own.

A step's draw follows from its generator alone, so drawing ahead changes no number. What was drawn
comes with its generator, from which the step goes on drawing. It does not know what is drawn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import torch

Draw = Callable[[int, torch.Generator], object]


@dataclass(frozen=True)
class Drawn:
    """What one step takes.

    Attributes:
        batch: what was drawn.
        generator: where drawing stopped.
        wait_seconds: how long the step waited for it.
    """

    batch: object
    generator: torch.Generator
    wait_seconds: float


class Prefetch:
    """Draws the coming steps' batches while a step computes."""

    def __init__(
        self,
        draw: Draw,
        generator_of: Callable[[int], torch.Generator],
        steps: range,
        *,
        num_ahead: int,
    ) -> None:
        """Draw `steps` in order, at most `num_ahead` before they are taken; 0 draws when asked."""
        self._draw, self._generator_of = draw, generator_of
        self._left = iter(steps)
        self._waiting: deque[Future[tuple[object, torch.Generator]]] = deque()
        self._num_ahead = num_ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch") if num_ahead else None

    def __enter__(self) -> Prefetch:
        """Begin to draw."""
        while len(self._waiting) < self._num_ahead and self._submit():
            pass
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what nobody took."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def take(self) -> Drawn:
        """Return the next step's batch; an error of its draw is raised here."""
        started = time.perf_counter()
        if self._pool is None:
            batch, generator = self._draw_step(next(self._left))
        else:
            batch, generator = self._waiting.popleft().result()
        waited = time.perf_counter() - started
        self._submit()
        return Drawn(batch, generator, waited)

    def _submit(self) -> bool:
        if self._pool is None:
            return False
        step = next(self._left, None)
        if step is not None:
            self._waiting.append(self._pool.submit(self._draw_step, step))
        return step is not None

    def _draw_step(self, step: int) -> tuple[object, torch.Generator]:
        generator = self._generator_of(step)
        return self._draw(step, generator), generator
