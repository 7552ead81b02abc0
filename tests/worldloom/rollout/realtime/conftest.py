"""The kernels' errors, worked out once in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from interpreted import interpreted

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find what is beside them
TWINS = Path(__file__).parent / "kernel_twins.py"


@pytest.fixture(scope="session")
def kernel_errors() -> dict[str, float]:
    """Relative errors of interpreted kernels against their formulas, by case."""
    found = interpreted(str(TWINS))
    assert not found.returncode, found.stderr[-3000:]
    return json.loads(found.stdout)
