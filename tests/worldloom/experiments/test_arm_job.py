"""A training in a process of its own ends with whoever started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(child.pid, flush=True)
"""
CHILD = """
import sys, time
from worldloom.experiments.arm_job import end_with
end_with(int(sys.argv[1]))
time.sleep(600)
"""


@pytest.mark.slow
def test_a_process_ends_when_its_parent_has(monkeypatch):
    """The pipe that both hold is at its end only when both have ended."""
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    )
    told, _ = parent.communicate(timeout=120)
    assert int(told) > 0
