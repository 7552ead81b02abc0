"""The picture of the viewer in docs/viewer.md: choosing, walking on a desktop, walking on a phone.

    worldloom up --release starter --port 8080
    python -m cli.viewer_picture http://127.0.0.1:8080/ freedoom-hall freedoom-pool maze-pillar

Three visits of a real browser to a service that runs, each in the place that is named for it, after
the same few steps and turns. It starts no service and knows nothing of models.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cli.figures import ROOT
from worldloom.arrays import ByteArray
from worldloom.errors import MachineError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURE = ROOT / "docs" / "viewer.png"
_SEED = 7
_HEIGHT, _GAP = 456, 14
_SETTLED_MS, _READY_MS = 800, 2500
# What is held down, and for how many milliseconds; the picture is taken while walking on.
_STEPS = (("w", 700), ("ArrowRight", 350))
_WALKING_MS = 900


@dataclass(frozen=True)
class Panel:
    """One visit: a window, and whether somebody walks in it."""

    name: str
    width: int
    height: int
    is_dark: bool
    is_phone: bool
    walks: bool


PANELS = (
    Panel("choose", 1200, 760, is_dark=False, is_phone=False, walks=False),
    Panel("desktop", 1200, 760, is_dark=True, is_phone=False, walks=True),
    Panel("phone", 390, 760, is_dark=True, is_phone=True, walks=True),
)


def composed(shots: Sequence[ByteArray]) -> ByteArray:
    """Return pictures [H, W, 3] beside one another, all equally high, with white between them."""
    parts: list[ByteArray] = []
    for shot in shots:
        width = round(shot.shape[1] * _HEIGHT / shot.shape[0])
        scaled = cv2.resize(shot, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
        parts += [scaled.astype(np.uint8), np.full((_HEIGHT, _GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def take(url: str, places: Sequence[str]) -> list[ByteArray]:
    """Return a picture of each panel, in the place that is named for it.

    Raises:
        MachineError: when there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        message = "chromium: not found, expected it for pictures of the viewer"
        raise MachineError(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shots = [
            _shot(browser, panel, f"{url}#world={place}&seed={_SEED}")
            for panel, place in zip(PANELS, places, strict=True)
        ]
        browser.close()
    return shots


def _shot(browser: Browser, panel: Panel, address: str) -> ByteArray:
    page = browser.new_page(
        viewport={"width": panel.width, "height": panel.height},
        color_scheme="dark" if panel.is_dark else "light",
        has_touch=panel.is_phone,
        is_mobile=panel.is_phone,
    )
    page.goto(address)
    page.wait_for_selector(".world img")
    page.wait_for_timeout(_SETTLED_MS)
    if panel.walks:
        page.click("#begin")
        page.wait_for_selector("body[data-state=active]")
        page.wait_for_timeout(_READY_MS)
        for key, milliseconds in _STEPS:
            page.keyboard.down(key)
            page.wait_for_timeout(milliseconds)
            page.keyboard.up(key)
        page.keyboard.down("w")
        page.wait_for_timeout(_WALKING_MS)
    decoded = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "a browser's picture can be read"
    page.close()
    return decoded.astype(np.uint8)


def main(arguments: Sequence[str]) -> None:
    """Write the picture of the service at an address, from three places."""
    url, *places = arguments
    if len(places) != len(PANELS):
        message = f"places {places}: expected {len(PANELS)}, one for each picture"
        raise ValueError(message)
    cv2.imwrite(str(PICTURE), composed(take(url, places)))


if __name__ == "__main__":
    main(sys.argv[1:])
