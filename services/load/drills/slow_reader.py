"""The drill with slow players among others: only they may notice.

Gateway and fake engine, so that it is the gateway's pace that is judged. A third reads its sockets
slowly, as over a thin line: late frames are dropped by the gateway and counted. A third takes its
frames slowly from the SDK, which leaves late ones out. Memory stays bounded, and the others see
every frame at its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from services import protocol
from services.client.endpoint import Endpoint
from services.contract import to_json
from services.gateway.settings import GatewayConfig, SessionLimits
from services.load.crowd import CrowdConfig, crowd
from services.load.drills.stage import DrillConfig, Report
from services.load.memory_watch import MemoryWatch
from services.load.player import Played, PlayerConfig
from services.load.walk import actions_of
from services.local.gateway_process import GatewayProcess
from services.processes import LOOPBACK, free_port
from worldloom.bench.record import Bar

LEAST_CONTINUITY = 0.99
MOST_MEMORY_MIB = 64.0
_SLOWNESS = 10  # a slow player takes one frame in the time of so many
_LINE_BYTES = 64 * 1024  # what its line holds
_SCRAPE_SECONDS = 10.0
_MIB = 1 << 20
_DROPPED = "worldloom_gateway_dropped_frames_total"
_FAKE = ("frame_bytes=30000", "frames_per_second=30", "num_slots=256")


def slow_reader(config: DrillConfig, state: Path, report: Report) -> tuple[Bar, ...]:
    """Let slow players play among others and judge what each of them saw."""
    num_each = config.num_sessions
    limits = SessionLimits(late_seconds=0.5)
    settings = GatewayConfig(port=free_port(), auth="none", drain_seconds=0.0, limits=limits)
    players = CrowdConfig(
        num_players=2 * num_each,
        arrival_seconds=1.0,
        seed=config.seed,
        player=PlayerConfig(seconds=config.seconds),
        num_slow=num_each,
        slow=PlayerConfig(seconds=config.seconds, pace=1 / _SLOWNESS, late_frames="drop"),
    )
    with (
        GatewayProcess(state, settings, fake=_FAKE) as gateway,
        _slow_sockets(gateway.url, num_each, config.seconds) as failures,
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
    return _bars(played, failures, num_dropped, (memory.largest_bytes - begun_bytes) / _MIB)


def _bars(
    played: Sequence[Played], failures: Sequence[str], num_dropped: float, memory_mib: float
) -> tuple[Bar, ...]:
    """Judge what the slow callers, who come first, and the others saw."""
    half = len(played) // 2
    callers, others = played[:half], played[half:]
    return (
        Bar(
            name="slow-reader: sessions that failed",
            value=sum(bool(each.failure) for each in played) + len(failures),
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
            name="slow-reader: late frames left out for the slow caller with the fewest",
            value=min(each.num_dropped for each in callers),
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
            value=memory_mib,
            limit=MOST_MEMORY_MIB,
            sense="at most",
            unit="MiB",
        ),
    )


@contextlib.contextmanager
def _slow_sockets(url: str, num_sockets: int, seconds: float) -> Iterator[list[str]]:
    """Let slow players play meanwhile; the list fills with why some ended early."""
    failures: list[str] = []

    async def read_all() -> None:
        results = await asyncio.gather(
            *(_read_slowly(url, seed, seconds) for seed in range(num_sockets))
        )
        failures.extend(filter(None, results))

    reading = threading.Thread(target=lambda: asyncio.run(read_all()), name="slow players")
    reading.start()
    try:
        yield failures
    finally:
        reading.join()


async def _read_slowly(url: str, seed: int, seconds: float) -> str:
    """Play on a thin line for a time; return why it ended early, "" when it did not."""
    endpoint = Endpoint.parse(url)
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LINE_BYTES)
    line.connect((LOOPBACK, urlsplit(endpoint.session_url).port))
    line.setblocking(False)
    async with connect(
        endpoint.session_url,
        sock=line,
        subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
        compression=None,
        max_queue=1,
        ping_interval=None,
    ) as player:
        await player.send(to_json(protocol.Open(seed=seed, late_frames="drop")), text=True)
        ready = protocol.parse_server_message(await player.recv())
        if not isinstance(ready, protocol.Ready):
            return f"{ready.type} instead of ready"
        acting = asyncio.create_task(_act_on_time(player, ready, seed))
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                if isinstance(await player.recv(), bytes):
                    await asyncio.sleep(_SLOWNESS / ready.frames_per_second)
        except ConnectionClosed as error:
            return str(error)
        finally:
            acting.cancel()
            await asyncio.wait([acting])
        return ""


async def _act_on_time(player: ClientConnection, ready: protocol.Ready, seed: int) -> None:
    length, index = ready.frames_per_segment, 0
    while True:
        keyboard, mouse = actions_of(seed + index, length)
        message = protocol.Actions(
            action_index=index * length, keyboard=keyboard.tolist(), mouse=mouse.tolist()
        )
        try:
            await player.send(to_json(message), text=True)
        except ConnectionClosed:
            return
        index += 1
        await asyncio.sleep(length / ready.frames_per_second)


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
