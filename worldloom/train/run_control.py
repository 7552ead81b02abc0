"""What holds for a whole run: where draws come from, when to stop, how exactly to compute.

It does not know what is trained.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

import torch


def step_generator(seed: int, step: int, *, rank: int = 0) -> torch.Generator:
    """Return the CPU generator of a step's draws; it depends on nothing but its arguments.

    Processes that train together draw alike (rank 0) and compute their own rows.
    """
    digest = hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Pace(Protocol):
    """Ends a run by something else than its number of steps."""

    def is_over(self) -> bool:
        """Tell whether the step that has just been taken is the last one."""

    def rate_scale(self) -> float:
        """Return what the learning rate of the next step is multiplied by."""


class TimeBudget:
    """A run of so many seconds, at whose end the learning rate falls to nothing in a line."""

    def __init__(self, seconds: float, *, decay_share: float = 0.0) -> None:
        """Start the clock; the rate falls over the last `decay_share` of the time."""
        self.seconds, self.decay_share = seconds, decay_share
        self._started = time.monotonic()

    def is_over(self) -> bool:
        """Tell whether the time is up."""
        return self._share() >= 1

    def rate_scale(self) -> float:
        """Return 1, and in the last share of the time what is left of it."""
        left = max(0.0, 1 - self._share())
        return min(1.0, left / self.decay_share) if self.decay_share else 1.0

    def _share(self) -> float:
        return (time.monotonic() - self._started) / max(self.seconds, 1e-9)


class StopRequest:
    """Turns SIGTERM into a wish to stop at the next boundary, for as long as it is entered."""

    def __init__(self) -> None:
        self.is_set = False
        self._previous: signal._HANDLER = None

    def __enter__(self) -> StopRequest:
        """Take the signal over, where this thread may."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def is_set_now(self) -> bool:
        """Tell whether the signal came."""
        return self.is_set

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


@contextlib.contextmanager
def deterministic_arithmetic(*, enabled: bool, num_threads: int = 0) -> Iterator[None]:
    """Fix torch's thread count and, where asked, refuse operations that depend on timing."""
    threads, was_enabled = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_enabled)
        torch.set_num_threads(threads)
