"""Runs programs that launch Triton kernels on the CPU, by Triton's interpreter.

It must be asked for before Triton is imported, so each program is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def require_equal(program):
    """Run a program that prints `equal` when its kernels answer as their formulas do."""
    pytest.importorskip("triton")
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "equal\n", found.stderr[-2000:]
