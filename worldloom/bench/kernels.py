"""Where a GPU's time goes: its kernels by what they do, as torch's profiler saw them.

Kernels are known by their names alone; one that no pattern knows counts among the rest. It does not
know what ran.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

from worldloom.bench.record import Table

# The first pattern that a kernel's name contains says its kind.
_KINDS = (
    ("attention", re.compile(r"sdpa|flash|fmha|attention", re.IGNORECASE)),
    ("matrix products", re.compile(r"gemm|nvjet|cutlass|xmma|wgmma", re.IGNORECASE)),
    ("fused passes over tokens", re.compile(r"^triton_")),
    ("optimiser, clipping, averages", re.compile(r"multi_tensor|fused_adam", re.IGNORECASE)),
    ("copies and fills", re.compile(r"memcpy|memset|copy|fill", re.IGNORECASE)),
)
_REST = "the rest"
_LONGEST_NAME = 60


def kernel_times(run: Callable[[], object], num_runs: int) -> dict[str, float]:
    """Return the milliseconds a run of each kernel on the GPU, those with most first."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(num_runs):
            run()
        torch.cuda.synchronize()
    times = {
        event.key: event.self_device_time_total / 1e3 / num_runs
        for event in profile.key_averages()
        if event.device_type.name == "CUDA" and event.self_device_time_total
    }
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def kind_of(name: str) -> str:
    """Return what a kernel of this name does."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), _REST)


def kernel_table(times: Mapping[str, float]) -> Table:
    """Return the times by kind, and of which kernel each kind has most."""
    total = sum(times.values())
    by_kind: dict[str, dict[str, float]] = {}
    for name, milliseconds in times.items():
        by_kind.setdefault(kind_of(name), {})[name] = milliseconds
    rows = []
    for kind, own in sorted(by_kind.items(), key=lambda item: -sum(item[1].values())):
        name, most = max(own.items(), key=lambda item: item[1])
        share = sum(own.values()) / total
        told = f"{name[:_LONGEST_NAME]} ({most:.3g} ms)".replace("|", "/")
        rows.append((kind, f"{sum(own.values()):.4g}", f"{share:.1%}", told))
    rows.append(("all", f"{total:.4g}", "100%", f"{len(times)} kernels"))
    columns = ("kind", "ms a step", "share", "most of it")
    return Table(title="Where the GPU's time goes", columns=columns, rows=tuple(rows))
