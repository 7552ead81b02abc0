"""The viewer's pure modules, tested by node, and held to the contract in Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from services import contract, protocol, session_state

TESTS = Path(__file__).with_name("viewer")
VIEWER = Path(contract.__file__).parent / "gateway" / "viewer"
CONSTANTS = (
    "PROTOCOL_VERSION", "SUBPROTOCOL", "SESSION_PATH", "TOKEN_PATH", "WORLDS_PATH", "NUM_KEYS",
    "NUM_MOUSE_AXES", "MAX_IMAGE_BYTES", "MAX_PROMPT_LENGTH", "HEADER_BYTES", "KIND_JPEG",
    "KIND_H264_KEY", "KIND_H264_DELTA",
)  # fmt: skip
MOST_LINES = 400


def what_python_says() -> dict[str, Any]:
    header = protocol.FrameHeader(
        kind=2, segment_index=3, frame_index=70_000, action_index=-1, sent_at_ms=1.5e12
    )
    return {
        "transitions": {str(s): [*map(str, to)] for s, to in session_state.TRANSITIONS.items()},
        "legal_messages": {str(s): [*m] for s, m in session_state.LEGAL_MESSAGES.items()},
        "constants": {name: getattr(protocol, name) for name in CONSTANTS},
        "retryable": [*map(str, contract.RETRYABLE)],
        "codes": [*map(str, contract.ErrorCode)],
        "end_reasons": get_args(contract.EndReason),
        "notices": get_args(protocol.Notice.model_fields["kind"].annotation),
        "frame": {
            "hex": (header.pack() + b"picture").hex(),
            "header": {
                "kind": 2,
                "segmentIndex": 3,
                "frameIndex": 70_000,
                "actionIndex": -1,
                "sentAtMs": 1.5e12,
            },
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(TESTS.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_the_modules_pass_their_own_tests(path: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the viewer's modules are not tested")
    told = tmp_path / "contract.json"
    told.write_text(json.dumps(what_python_says()))
    environment = {**os.environ, "WORLDLOOM_CONTRACT": str(told)}
    result = subprocess.run(
        [node, "--test", str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "# skipped 0" in result.stdout


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    page = (VIEWER / "index.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "style=" not in page
    assert page.count("<script") == page.count('<script type="module" src="') == 1
    styles = (VIEWER / "viewer.css").read_text()
    assert "url(" not in styles
    assert "@import" not in styles


def test_every_module_says_what_it_knows_and_stays_readable() -> None:
    for path in VIEWER.glob("*.js"):
        text = path.read_text()
        assert text.startswith("/**\n * "), path
        assert "know" in text.split("*/")[0], path
        assert len(text.splitlines()) <= MOST_LINES, path
