"""Which drills there are, in which order they are held, and the one report of them all.

It does not know what each drill does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from services.load.drills.churn import churn
from services.load.drills.interruption import kill_gateway, kill_triton, stop_triton
from services.load.drills.malformed_input import malformed_input
from services.load.drills.replacement import replace
from services.load.drills.slow_reader import slow_reader
from services.load.drills.stage import DrillConfig, Report, Stage, Tell, stage
from services.release_source import ReleaseSource
from services.starter_release import starter_release
from worldloom.artifacts import MANIFEST_NAME, build_manifest
from worldloom.bench.record import Bar, BenchReport, open_device, this_machine

_ON_STAGE: Mapping[str, Callable[[Stage], tuple[Bar, ...]]] = {
    "kill-triton": kill_triton,
    "kill-gateway": kill_gateway,
    "stop-triton": stop_triton,
    "replace": replace,
    "churn": churn,
}
# These judge the gateway, so they take one of their own with the fake engine behind it.
_AT_A_GATEWAY: Mapping[str, Callable[[DrillConfig, Path, Report], tuple[Bar, ...]]] = {
    "slow-reader": slow_reader,
    "malformed": malformed_input,
}
DRILLS = (*_ON_STAGE, *_AT_A_GATEWAY)

Progress = Callable[[str], AbstractContextManager[Report]]


def run_drills(
    names: Sequence[str],
    config: DrillConfig,
    folder: Path,
    command: str,
    tell: Tell,
    progress: Progress,
) -> BenchReport:
    """Hold these drills one after the other, each on a service of its own, and report."""
    machine = this_machine(open_device("cpu"))
    sources = two_releases(folder)
    bars: list[Bar] = []
    for name in names:
        tell(f"drill {name}")
        with progress(name) as report:
            if name in _AT_A_GATEWAY:
                found = _AT_A_GATEWAY[name](config, folder / name, report)
            else:
                with stage(folder / name, sources, config, tell, report) as place:
                    found = _ON_STAGE[name](place)
        for bar in found:
            tell(f"{'met' if bar.is_met else 'MISSED'}: {bar.sentence}")
        bars += found
    return BenchReport(
        title="What breaks under live sessions, and what players see of it",
        command=command,
        notes=(
            "A gateway and a real Triton with a release of the starter weights on this machine;"
            " `slow-reader` and `malformed` are on the fake engine, since they judge the gateway.",
            "Frames are compared bit for bit with those of undisturbed walks of the same seeds.",
            "A restart is over when the gateway answers, or counts the engine as up again.",
        ),
        machine=machine,
        measurements=(),
        bars=tuple(bars),
    )


def two_releases(folder: Path) -> tuple[ReleaseSource, ReleaseSource]:
    """Return two releases of the starter weights whose digests differ: versions 1 and 2."""
    first, second = folder / "release-1", folder / "release-2"
    digest = starter_release(first)
    shutil.copytree(first, second, ignore=shutil.ignore_patterns(MANIFEST_NAME))
    (second / "VERSION").write_text("2\n")
    manifest = build_manifest(second, kind="release", config={"starter": True}, parents={})
    (second / MANIFEST_NAME).write_text(manifest.to_json())
    return ReleaseSource(first, digest, "1"), ReleaseSource(second, manifest.digest, "2")
