"""SIGTERM ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from cli.termination import stop_on_terminate


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("restored")
def test_a_process_that_is_told_to_end_is_interrupted() -> None:
    stop_on_terminate()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
