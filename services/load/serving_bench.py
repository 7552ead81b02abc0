"""What players of a real release see: opening, action to frame, and how many fit.

A gateway and a real Triton serve the release on this machine. Sessions are opened one after the
other first; then more and more play at once, until play is no longer continuous. It does not know
how a release is made.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from services.inference.engine_config import EngineConfig
from services.inference.repository import RepositoryConfig
from services.load.crowd import CrowdConfig, crowd, joined
from services.load.player import Played, PlayerConfig, play
from services.local.service import LocalConfig, LocalService
from services.processes import free_port
from services.release_source import ReleaseSource
from worldloom.bench.record import (
    Bar,
    BenchReport,
    Machine,
    Measurement,
    measured,
    open_device,
    this_machine,
)
from worldloom.config import Config
from worldloom.errors import ServingError

MOST_COLD_SECONDS = 15.0
MOST_FIRST_FRAME_MS = 500.0
CONTINUOUS = 0.99

Report = Callable[[int, int], None]
Tell = Callable[[str], None]


class ServingBenchConfig(Config):
    """How much is asked of the service."""

    num_opens: int = Field(60, ge=1, description="sessions opened one after the other, and timed")
    num_warmup: int = Field(3, ge=0, description="opened before, not counted")
    most_sessions: int = Field(8, ge=1, description="sessions at once that are tried at most")
    seconds: float = Field(20.0, gt=0, description="time of play at each number, seconds")
    seed: int = Field(0, ge=0, description="seed of arrivals, noise and walks")


@dataclass(frozen=True)
class Load:
    """What so many sessions at once saw."""

    num_sessions: int
    played: Sequence[Played]

    @property
    def continuity(self) -> float:
        """Continuous play over all sessions; one that failed counts as none."""
        return float(np.mean([0.0 if each.failure else each.continuity for each in self.played]))


def measure_serving(
    config: ServingBenchConfig, source: ReleaseSource, command: str, report: Report, tell: Tell
) -> BenchReport:
    """Serve a release, play on it, and return what players saw.

    Raises:
        ServingError: when the service does not start or a session cannot be opened.
    """
    machine = this_machine(open_device("cpu"))
    engine = EngineConfig(num_slots=config.most_sessions)
    local = LocalConfig(port=free_port(), repository=RepositoryConfig(engine=engine))
    with tempfile.TemporaryDirectory(prefix="worldloom-bench-") as folder:
        service = LocalService(Path(folder), local, tell)
        try:
            cold_seconds = _start_cold(service, source, config)
            opened = _open_again_and_again(service.url, config, report)
            loads = _up_to_the_knee(service.url, config, tell)
        finally:
            service.stop()
    return _report(config, machine, cold_seconds, opened, loads, command)


def _start_cold(service: LocalService, source: ReleaseSource, config: ServingBenchConfig) -> float:
    """Start the service and return the seconds until a player has the first frame made for it."""
    started = time.monotonic()
    service.start(source)
    up_at = time.monotonic()
    played = asyncio.run(play(service.url, PlayerConfig(seconds=0.05), seed=config.seed))
    if played.failure:
        message = f"the first session failed: {played.failure}"
        raise ServingError(message)
    return up_at - started + played.first_frame_seconds


def _open_again_and_again(url: str, config: ServingBenchConfig, report: Report) -> list[Played]:
    opened = []
    for index in range(config.num_warmup + config.num_opens):
        player = PlayerConfig(seconds=0.05)
        played = asyncio.run(play(url, player, seed=config.seed + index))
        if played.failure:
            message = f"session {index} of {config.num_opens} failed: {played.failure}"
            raise ServingError(message)
        opened.append(played)
        report(index + 1, config.num_warmup + config.num_opens)
    return opened[config.num_warmup :]


def _up_to_the_knee(url: str, config: ServingBenchConfig, tell: Tell) -> list[Load]:
    """Play with more and more sessions until play is not continuous any more."""
    loads: list[Load] = []
    for num_sessions in range(1, config.most_sessions + 1):
        players = CrowdConfig(
            num_players=num_sessions,
            arrival_seconds=0.2 * num_sessions,
            seed=config.seed + 1000 * num_sessions,
            player=PlayerConfig(seconds=config.seconds),
        )
        with crowd(url, players) as everybody:
            load = Load(num_sessions, everybody.wait(_nothing))
        loads.append(load)
        tell(f"{num_sessions} sessions at once: continuous play {load.continuity:.4f}")
        if load.continuity < CONTINUOUS:
            break
    return loads


def _report(
    config: ServingBenchConfig,
    machine: Machine,
    cold_seconds: float,
    opened: list[Played],
    loads: list[Load],
    command: str,
) -> BenchReport:
    first_ms = [1e3 * each.first_frame_seconds for each in opened]
    fitting = [load.num_sessions for load in loads if load.continuity >= CONTINUOUS]
    measurements = _measurements(opened, loads)
    continuity = ", ".join(f"{load.num_sessions}: {load.continuity:.4f}" for load in loads)
    return BenchReport(
        title="What players of a release see",
        command=command,
        notes=(
            "Gateway, Triton and players share this machine's cores; the model computes on one.",
            "First made frame: the player acts as its session opens, and the first frame of that"
            " action's segment arrives.",
            f"Players take frames at the release's pace behind a start buffer of one segment, for"
            f" {config.seconds:g} s each. Share of continuous play by sessions at once:"
            f" {continuity}.",
        ),
        machine=machine,
        measurements=tuple(measurements),
        bars=(
            Bar(
                name="service started cold to first made frame",
                value=cold_seconds,
                limit=MOST_COLD_SECONDS,
                sense="at most",
                unit="s",
            ),
            Bar(
                name="asked for to first made frame, p95",
                value=float(np.percentile(first_ms, 95)),
                limit=MOST_FIRST_FRAME_MS,
                sense="at most",
                unit="ms",
            ),
            Bar(
                name=f"sessions at once whose play is continuous ({CONTINUOUS:g} of the time)",
                value=max(fitting, default=0),
                limit=1,
                sense="at least",
            ),
        ),
    )


def _measurements(opened: list[Played], loads: list[Load]) -> list[Measurement]:
    first_ms = [1e3 * each.first_frame_seconds for each in opened]
    measurements = [
        measured("asked for to start image", "ms", [1e3 * each.opened_seconds for each in opened]),
        measured("asked for to first made frame", "ms", first_ms),
    ]
    for load in loads:
        acted = joined([each.action_to_frame_seconds for each in load.played])
        seen = joined([each.interval_seconds for each in load.played])
        if acted and seen:
            name = f"{load.num_sessions} at once"
            measurements += [
                measured(f"{name}: action to first frame", "ms", [1e3 * s for s in acted]),
                measured(f"{name}: between frames as seen", "ms", [1e3 * s for s in seen]),
            ]
    return measurements


def _nothing() -> None:
    return
