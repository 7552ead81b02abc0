"""The machine: Python, cores, memory, disk, ports, accelerator.

It knows what the demo needs and nothing of installed packages.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from cli.checks.check import Check, State, passed
from services.processes import LOOPBACK, free_port, is_port_free

SUPPORTED_PYTHONS = ((3, 11), (3, 12))
_GIB = 1 << 30
_NEEDED_MEMORY_BYTES = 8 * _GIB
_SLACK = 0.9  # a machine sold as 8 GiB shows a little less
_NEEDED_DISK_BYTES = 2 * _GIB
_GOOD_DISK_BYTES = 10 * _GIB


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> list[Check]:
    """Check the interpreter's version."""
    found = f"{platform.python_version()} ({sys.executable})"
    if version in SUPPORTED_PYTHONS:
        return [passed("python", found)]
    known = " or ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHONS)
    mend = f"install Python {known} and make the environment again"
    return [Check("python", State.FAIL, f"{version[0]}.{version[1]}", mend)]


def check_cores(count: int | None = None) -> list[Check]:
    """Check the cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if count is None else count
    if usable >= 2:
        return [passed("cores", str(usable))]
    return [Check("cores", State.WARN, str(usable), "the demo is sized for 2 cores: expect hours")]


def check_memory(total_bytes: int | None = None, free_bytes: int | None = None) -> list[Check]:
    """Check the memory in all and what is free of it."""
    memory = psutil.virtual_memory()
    total = memory.total if total_bytes is None else total_bytes
    free = memory.available if free_bytes is None else free_bytes
    found = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f} GiB"
    if total < _NEEDED_MEMORY_BYTES * _SLACK:
        return [Check("memory", State.FAIL, found, "the demo needs 8 GiB")]
    if free < _NEEDED_MEMORY_BYTES / 2:
        return [Check("memory", State.WARN, found, "end other programs before the demo")]
    return [passed("memory", found)]


def check_disk(home: Path, free_bytes: int | None = None) -> list[Check]:
    """Check the free space where state is kept."""
    place = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(place).free if free_bytes is None else free_bytes
    found = f"{free / _GIB:.1f} GiB free at {home}"
    mend = "free some space, or set WORLDLOOM_HOME to a folder on a larger disk"
    if free < _NEEDED_DISK_BYTES:
        return [Check("disk", State.FAIL, found, f"2 GiB are needed: {mend}")]
    if free < _GOOD_DISK_BYTES:
        return [Check("disk", State.WARN, found, f"10 GiB are comfortable: {mend}")]
    if not os.access(place, os.W_OK):
        return [Check("disk", State.FAIL, f"{place} cannot be written", mend)]
    return [passed("disk", found)]


def check_ports(ports: Sequence[int]) -> list[Check]:
    """Check that servers can listen on the loopback interface, and on the wanted ports."""
    try:
        free_port()
    except OSError as error:
        mend = f"bring the interface of {LOOPBACK} up, or allow this user to listen on it"
        return [Check("ports", State.FAIL, f"{LOOPBACK}: {error.strerror}", mend)]
    taken = [port for port in ports if not is_port_free(port)]
    if not taken:
        listed = ", ".join(map(str, ports))
        return [passed("ports", f"{listed} free" if ports else "free ones can be had")]
    mend = "stop what listens there (ss -ltnp shows it), or choose other ports"
    return [Check("ports", State.FAIL, f"taken: {', '.join(map(str, taken))}", mend)]


def check_accelerator() -> list[Check]:
    """Name the GPUs; the demo needs none."""
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return [passed("accelerator", ", ".join(devices) or "none; the demo runs on the CPU")]
