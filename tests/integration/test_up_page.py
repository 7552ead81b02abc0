"""`worldloom up` on the starter weights: its page in a browser, a real Triton behind both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.main import run_command


def test_the_page_of_a_service_that_came_up_shows_made_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed, so the page is not opened")
    pytest.importorskip("playwright")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # A missed bar says something about this machine now, and is no fault: 1.
    code = run_command(["bench", "serve", "page", "--opens", "1", "--output-dir", str(tmp_path)])
    assert code in {0, 1}
    report = json.loads((tmp_path / "page.json").read_text())
    seen = {each["name"]: each["median"] for each in report["measurements"]}
    assert 0 < seen["page answers"] < seen["start image"] < seen["first made frame"]
