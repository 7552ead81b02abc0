"""Runs programs that launch Triton kernels on the CPU, by Triton's interpreter.

It must be asked for before Triton is imported, so each program is a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def interpreted(*arguments):
    """Run Python with these arguments under the interpreter and return what came of it."""
    pytest.importorskip("triton")
    path = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def require_equal(program):
    """Run a program that prints `equal` when its kernels answer as their formulas do."""
    found = interpreted("-c", program)
    assert found.stdout == "equal\n", found.stderr[-2000:]
