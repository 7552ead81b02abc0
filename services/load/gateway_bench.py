"""What the gateway adds: many sessions on the fake engine, each frame timed from its making.

The fake engine stamps each frame as it is made; players in a process of their own read the same
clock as a frame leaves their socket. The gateway's memory is watched all along.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from services.gateway.settings import GatewayConfig
from services.load.crowd import CrowdConfig, crowd, joined
from services.load.memory_watch import MemoryWatch
from services.load.player import Played, PlayerConfig
from services.local.gateway_process import GatewayProcess
from services.processes import free_port
from worldloom.bench.record import Bar, BenchReport, measured, open_device, this_machine
from worldloom.config import Config
from worldloom.errors import ServingError

MOST_ADDED_MS = 10.0
MOST_GROWTH_PERCENT = 1.0
LEAST_CONTINUITY = 0.99

Report = Callable[[int, int], None]


class GatewayBenchConfig(Config):
    """How much is asked of the gateway."""

    num_sessions: int = Field(32, ge=1, description="sessions at once")
    seconds: float = Field(600.0, gt=0, description="time of play of each, seconds")
    frames_per_second: float = Field(30.0, gt=0, description="pace of each session")
    frame_bytes: int = Field(30_000, ge=1_000, description="size of a frame")
    frames_per_segment: int = Field(12, ge=1, description="frames that the engine makes at once")
    arrival_seconds: float = Field(5.0, ge=0, description="time in which the sessions arrive")
    seed: int = Field(0, ge=0, description="seed of arrivals and walks")


def measure_gateway(config: GatewayBenchConfig, command: str, report: Report) -> BenchReport:
    """Play on a gateway with the fake engine and return what it added and how its memory went.

    Raises:
        ServingError: when the gateway does not start, or no session was played.
    """
    machine = this_machine(open_device("cpu"))
    played, memory = _play(config, report)
    failures = [each.failure for each in played if each.failure]
    added_ms = [1e3 * seconds for seconds in joined([each.added_seconds for each in played])]
    if not added_ms:
        message = f"no frame arrived, the first failure: {failures[0] if failures else 'none'}"
        raise ServingError(message)
    acted = joined([each.action_to_frame_seconds for each in played])
    seen = joined([each.interval_seconds for each in played])
    opened = [each.opened_seconds for each in played if not each.failure]
    return BenchReport(
        title="What the gateway adds",
        command=command,
        notes=_notes(config),
        machine=machine,
        measurements=(
            measured("added to a frame", "ms", added_ms),
            measured("session asked for to start image", "ms", [1e3 * s for s in opened]),
            measured("action to first frame that obeys", "ms", [1e3 * s for s in acted]),
            measured("between frames as seen", "ms", [1e3 * s for s in seen]),
        ),
        bars=_bars(added_ms, memory, played, failures),
    )


def _play(config: GatewayBenchConfig, report: Report) -> tuple[list[Played], MemoryWatch]:
    """Play on a gateway of its own; return what was seen, and how its memory went."""
    settings = GatewayConfig(port=free_port(), auth="none", drain_seconds=0.0)
    fake = [
        f"frame_bytes={config.frame_bytes}",
        f"frames_per_second={config.frames_per_second}",
        f"frames_per_segment={config.frames_per_segment}",
        f"num_slots={config.num_sessions}",
        "draws_ahead=true",  # drawing in the gateway's process would count as the gateway's
        "is_stamped=true",
    ]
    players = CrowdConfig(
        num_players=config.num_sessions,
        arrival_seconds=config.arrival_seconds,
        seed=config.seed,
        player=PlayerConfig(seconds=config.seconds, is_stamped=True),
    )
    with (
        tempfile.TemporaryDirectory(prefix="worldloom-bench-") as folder,
        GatewayProcess(Path(folder), settings, fake=fake) as gateway,
        crowd(gateway.url, players) as everybody,
    ):
        memory, started = MemoryWatch(gateway.pid), time.monotonic()

        def look() -> None:
            memory.look()
            elapsed = time.monotonic() - started
            report(int(elapsed), int(config.seconds + config.arrival_seconds))

        return everybody.wait(look), memory


def _bars(
    added_ms: Sequence[float], memory: MemoryWatch, played: Sequence[Played], failures: list[str]
) -> tuple[Bar, ...]:
    return (
        Bar(
            name="added to a frame, p99",
            value=float(np.percentile(added_ms, 99)),
            limit=MOST_ADDED_MS,
            sense="at most",
            unit="ms",
        ),
        Bar(
            name="growth of the gateway's memory over the run",
            value=100 * memory.growth,
            limit=MOST_GROWTH_PERCENT,
            sense="at most",
            unit="%",
        ),
        Bar(
            name="continuous play of the worst session",
            value=min(each.continuity for each in played),
            limit=LEAST_CONTINUITY,
            sense="at least",
        ),
        Bar(name="sessions that failed", value=len(failures), limit=0, sense="at most"),
    )


def _notes(config: GatewayBenchConfig) -> tuple[str, ...]:
    return (
        f"{config.num_sessions} sessions of {config.frames_per_second:g} frames/s and"
        f" {config.frame_bytes} bytes a frame for {config.seconds:g} s each,"
        f" {config.frames_per_segment} frames a segment, on the fake engine.",
        "Added to a frame: from the fake engine's making of it to the player's read of it, so the"
        " wait for the frames of its segment before it is in it.",
        "Players are one process, the gateway with its engine another, on the same cores.",
        "Memory: the line through the gateway's resident memory, its first fifth left out.",
    )
