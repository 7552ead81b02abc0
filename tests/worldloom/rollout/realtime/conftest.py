"""The kernels' errors, worked out once in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find what is beside them
TWINS = Path(__file__).parent / "kernel_twins.py"
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def kernel_errors() -> dict[str, float]:
    """Relative errors of interpreted kernels against their formulas, by case."""
    pytest.importorskip("triton")
    found = subprocess.run(
        [sys.executable, str(TWINS)],
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert not found.returncode, found.stderr[-3000:]
    return json.loads(found.stdout)
