"""The drill with slow players among others: only they may notice.

Gateway and fake engine, so that it is the gateway's pace that is judged: the slow players' late
frames are dropped and counted, memory stays bounded, the others see every frame at its time.
"""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from services.gateway.settings import GatewayConfig, SessionLimits
from services.load.crowd import CrowdConfig, crowd
from services.load.drills.stage import DrillConfig, Report
from services.load.memory_watch import MemoryWatch
from services.load.player import PlayerConfig
from services.local.gateway_process import GatewayProcess
from services.processes import free_port
from worldloom.bench.record import Bar

LEAST_CONTINUITY = 0.99
MOST_MEMORY_MIB = 64.0
_PACE = 0.1
_SCRAPE_SECONDS = 10.0
_MIB = 1 << 20
_DROPPED = "worldloom_gateway_dropped_frames_total"
_FAKE = ("frame_bytes=30000", "frames_per_second=30", "num_slots=256")


def slow_reader(config: DrillConfig, state: Path, report: Report) -> tuple[Bar, ...]:
    """Let slow players play among others and judge what each of them saw."""
    num_slow = config.num_sessions
    # Sockets hold megabytes before anything is late, so a short time of play may drop nothing.
    limits = SessionLimits(late_seconds=0.5)
    settings = GatewayConfig(port=free_port(), auth="none", drain_seconds=0.0, limits=limits)
    players = CrowdConfig(
        num_players=2 * num_slow,
        arrival_seconds=1.0,
        seed=config.seed,
        player=PlayerConfig(seconds=config.seconds),
        num_slow=num_slow,
        slow=PlayerConfig(seconds=config.seconds, pace=_PACE, late_frames="drop"),
    )
    with (
        GatewayProcess(state, settings, fake=_FAKE) as gateway,
        crowd(gateway.url, players) as everybody,
    ):
        memory, started = MemoryWatch(gateway.pid), time.monotonic()
        memory.look()
        begun_bytes = memory.largest_bytes

        def look() -> None:
            memory.look()
            report(int(time.monotonic() - started), int(config.seconds))

        played = everybody.wait(look)
        num_dropped = counter_of(gateway.url, _DROPPED)
    others = played[num_slow:]
    return (
        Bar(
            name="slow-reader: sessions that failed",
            value=sum(bool(each.failure) for each in played),
            limit=0,
            sense="at most",
        ),
        Bar(
            name="slow-reader: continuous play of the worst of the others",
            value=min(each.continuity for each in others),
            limit=LEAST_CONTINUITY,
            sense="at least",
        ),
        Bar(
            name="slow-reader: late frames that the gateway dropped and counted",
            value=num_dropped,
            limit=1,
            sense="at least",
        ),
        Bar(
            name="slow-reader: frames dropped for the others",
            value=sum(each.num_dropped for each in others),
            limit=0,
            sense="at most",
        ),
        Bar(
            name="slow-reader: most memory that the gateway took for them",
            value=(memory.largest_bytes - begun_bytes) / _MIB,
            limit=MOST_MEMORY_MIB,
            sense="at most",
            unit="MiB",
        ),
    )


def counter_of(url: str, name: str) -> float:
    """Return one of the counters that a gateway shows to Prometheus."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=_SCRAPE_SECONDS) as response:
        text = response.read().decode()
    samples = (
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )
    return sum(sample.value for sample in samples)
