"""The drill that opens and ends sessions thousands of times, in every way, and looks for leaks.

A third closes in good order, a third breaks off in the middle of a walk, a third leaves before the
first frame. What each process holds is compared between the end of a warm-up, in which caches and
the parking of broken sessions fill, and the end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from services.client import SessionError, SessionOptions, Timeouts
from services.client.endpoint import Endpoint
from services.client.grpc import describe
from services.client.session import Session, connect
from services.load.drills.stage import Stage
from services.load.memory_watch import growth_of
from services.load.walk import PATIENT, actions_of
from worldloom.bench.record import Bar

_AT_ONCE = 4
_WARM_UP_SHARE = 0.3  # some 120 s of the whole drill: as long as a gateway remembers who left
_MOST_GROWTH_PERCENT = 1.0
_SPARE_HANDLES = 8  # connections that are just being opened or closed
_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.25
_HASTY = Timeouts(
    open_seconds=PATIENT.open_seconds, reply_seconds=PATIENT.reply_seconds, reconnect_seconds=0.0
)


@dataclass(frozen=True)
class Holdings:
    """What a process and its children hold."""

    num_handles: int
    num_threads: int
    resident_bytes: int


def churn(stage: Stage) -> tuple[Bar, ...]:
    """Open and end so many sessions and judge what is left of them."""
    total = stage.config.num_cycles
    processes = _processes(stage)
    warm = int(total * _WARM_UP_SHARE)
    asyncio.run(_churn(stage, range(warm)))
    before = {name: holdings_of(process) for name, process in processes.items()}
    shared_before = _shared_memory(stage)
    memory: dict[str, list[int]] = {name: [] for name in processes}
    moments: list[float] = []

    def look() -> None:
        moments.append(time.monotonic())
        for name, process in processes.items():
            memory[name].append(holdings_of(process).resident_bytes)

    asyncio.run(_churn(stage, range(warm, total), look))
    num_slots = _slots_in_use(stage)
    after = {name: holdings_of(process) for name, process in processes.items()}
    return (
        Bar(name="churn: sessions opened", value=total, limit=total, sense="at least"),
        Bar(name="churn: slots in use at the end", value=num_slots, limit=0, sense="at most"),
        Bar(
            name="churn: bytes more in /dev/shm",
            value=_shared_memory(stage) - shared_before,
            limit=0,
            sense="at most",
            unit="B",
        ),
        *(bar for name in processes for bar in _bars(name, before[name], after[name])),
        *(_growth_bar(name, growth_of(moments, memory[name])) for name in processes),
    )


def holdings_of(process: psutil.Process) -> Holdings:
    """Return what a process and its children hold now."""
    family = [process, *process.children(recursive=True)]
    return Holdings(
        sum(each.num_fds() for each in family),
        sum(each.num_threads() for each in family),
        sum(each.memory_info().rss for each in family),
    )


async def _churn(stage: Stage, cycles: range, look: Callable[[], None] | None = None) -> None:
    waiting = iter(cycles)

    async def work() -> None:
        for index in waiting:
            await _CYCLES[index % len(_CYCLES)](stage.url, index)
            if index % max(1, stage.config.num_cycles // 200) == 0:
                stage.report(index + 1, stage.config.num_cycles)
                if look is not None:
                    look()

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _close_in_order(url: str, index: int) -> None:
    async with connect(url, options=SessionOptions(seed=index), timeouts=PATIENT) as session:
        await session.act(*actions_of(index, session.ready.frames_per_segment))
        await session.finish()
        async for _ in session.frames():
            pass


async def _break_off(url: str, index: int) -> None:
    """Act, and be gone without a word as the first frames are on their way."""
    session = Session(Endpoint.parse(url).session_url, SessionOptions(seed=index), _HASTY)
    try:
        await session.open(None)
        await session.act(*actions_of(index, 2 * session.ready.frames_per_segment))
        await anext(session.frames())
    finally:
        await session.abandon()


async def _leave_at_once(url: str, index: int) -> None:
    """Ask for a session and be gone before it is there."""
    session = Session(Endpoint.parse(url).session_url, SessionOptions(seed=index), _HASTY)
    opening = asyncio.create_task(session.open(None))
    await asyncio.sleep(0.002 * (index % 5))
    await session.abandon()
    try:
        await opening
    except SessionError:
        return


_CYCLES = (_close_in_order, _break_off, _leave_at_once)


def _processes(stage: Stage) -> Mapping[str, psutil.Process]:
    return {
        "gateway": psutil.Process(stage.service.gateway.pid),
        "engine": psutil.Process(stage.service.current.server.pid),
    }


def _bars(name: str, before: Holdings, after: Holdings) -> tuple[Bar, Bar]:
    return (
        Bar(
            name=f"churn: handles of the {name} more than before",
            value=after.num_handles - before.num_handles,
            limit=_SPARE_HANDLES,
            sense="at most",
        ),
        Bar(
            name=f"churn: threads of the {name} more than before",
            value=after.num_threads - before.num_threads,
            limit=_SPARE_HANDLES,
            sense="at most",
        ),
    )


def _growth_bar(name: str, growth: float) -> Bar:
    return Bar(
        name=f"churn: growth of the {name}'s memory after the warm-up",
        value=100 * growth,
        limit=_MOST_GROWTH_PERCENT,
        sense="at most",
        unit="%",
    )


def _slots_in_use(stage: Stage) -> int:
    """Return the slots in use once the last sessions have had time to go."""
    address = stage.service.current.address
    deadline = time.monotonic() + _SETTLE_SECONDS
    pause = threading.Event()
    while (num_sessions := describe(address).num_sessions) and time.monotonic() < deadline:
        pause.wait(_POLL_SECONDS)
    return num_sessions


def _shared_memory(stage: Stage) -> int:
    return sum(served.server.shared_memory_bytes for served in stage.service.servers)
