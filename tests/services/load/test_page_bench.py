"""The page's bench: what it cannot do without a browser, it says."""

from __future__ import annotations

import pytest

from services.load.page_bench import PageBenchConfig, measure_page
from worldloom.errors import MachineError


def test_without_a_browser_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    started = ["a program that is never run"]
    with pytest.raises(MachineError, match="Chromium is not installed"):
        measure_page(PageBenchConfig(), started, "", lambda _done, _all: None)
