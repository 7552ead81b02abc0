"""From a command to a picture: a cold start, its page opened, the first made frame seen.

A real Chromium opens the page as soon as it answers, picks the first world and walks. It needs what
the browser tests need (Playwright and Debian's Chromium) and says so. It does not know how a
release is served: it runs the command that does.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
from pydantic import Field

from services.processes import LOOPBACK, ManagedProcess, free_port
from worldloom.bench.record import Bar, BenchReport, measured, open_device, this_machine
from worldloom.config import Config
from worldloom.errors import MachineError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_COLD_SECONDS = 15.0
_PATIENCE_MS = 120_000.0

Report = Callable[[int, int], None]


class PageBenchConfig(Config):
    """How often the service is started."""

    num_starts: int = Field(5, ge=1, description="cold starts, each with a home of its own")


def measure_page(
    config: PageBenchConfig, up: Sequence[str], command: str, report: Report
) -> BenchReport:
    """Start the service again and again and time what somebody at a browser sees.

    Args:
        config: how often.
        up: the command that serves at the port that follows it.
        command: what to write down as the command of this measurement.
        report: told after each start.

    Raises:
        MachineError: when there is no Chromium or no Playwright.
        ServingError: when the service does not start.
    """
    chromium = _chromium()
    from playwright.sync_api import sync_playwright

    machine = this_machine(open_device("cpu"))
    moments: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for index in range(config.num_starts):
            for name, seconds in _start_once(browser, up).items():
                moments.setdefault(name, []).append(seconds)
            report(index + 1, config.num_starts)
        browser.close()
    return BenchReport(
        title="From the command to a picture",
        command=command,
        notes=(
            "Seconds since the command was given; each start has a home of its own, and the"
            " release is made from the starter weights in it.",
            "Chromium runs already and opens the page as soon as it answers; the first key is"
            " pressed once the start image is seen.",
        ),
        machine=machine,
        measurements=tuple(measured(name, "s", values) for name, values in moments.items()),
        bars=(
            Bar(
                name="first made frame in the browser, the slowest start",
                value=float(np.max(moments["first made frame"])),
                limit=MOST_COLD_SECONDS,
                sense="at most",
                unit="s",
            ),
        ),
    )


def _chromium() -> str:
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        missing = "Chromium" if chromium is None else "playwright"
        message = f"{missing} is not installed, which the page is opened with"
        raise MachineError(message)
    return chromium


def _start_once(browser: Browser, up: Sequence[str]) -> dict[str, float]:
    """Return the seconds from the command to what is seen, by name."""
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    with tempfile.TemporaryDirectory(prefix="worldloom-bench-") as home:
        process = ManagedProcess(
            "worldloom up",
            [*up, str(port)],
            {**os.environ, "WORLDLOOM_HOME": home},
            Path(home) / "up.log",
        )
        page = browser.new_page()
        started = time.monotonic()
        with process:
            process.wait_until(lambda: _answers(address), _PATIENCE_MS / 1e3)
            moments = {"page answers": time.monotonic() - started}
            page.goto(address)
            page.get_by_role("button", name="Begin the walk").and_(page.locator(":enabled")).click(
                timeout=_PATIENCE_MS
            )
            page.locator("canvas[data-frame='0']").wait_for(timeout=_PATIENCE_MS)
            moments["start image"] = time.monotonic() - started
            page.keyboard.down("w")
            later = page.locator("canvas[data-frame]:not([data-frame='0'])")
            later.wait_for(timeout=_PATIENCE_MS)
            moments["first made frame"] = time.monotonic() - started
            page.close()
        return moments


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/live").is_success
    except httpx.TransportError:
        return False
