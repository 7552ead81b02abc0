"""SIGTERM ends a command as Ctrl-C does, so that what it started is stopped in order."""

from __future__ import annotations

import signal
from types import FrameType


def stop_on_terminate() -> None:
    """Raise `KeyboardInterrupt` in the main thread when this process is told to end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
