"""Drills that take a process away under live sessions: killed, or stopped for a while.

Sessions must go on with the frames of an undisturbed walk, soon after the process is back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from services.load.drills.stage import Stage
from services.load.walk import Walked, recovery_seconds, walk
from services.processes import ProcessIdentity
from worldloom.bench.record import Bar
from worldloom.errors import ServingError

MOST_RESUME_SECONDS = 5.0
STOPPED_SECONDS = 3.0
_LONGEST_RESTART_SECONDS = 180.0
_POLL_SECONDS = 0.02


def kill_triton(stage: Stage) -> tuple[Bar, ...]:
    """End the inference server by SIGKILL in the middle of every walk."""
    return _bars("kill-triton", stage, *_disturbed(stage, _kill_server), is_timed=True)


def kill_gateway(stage: Stage) -> tuple[Bar, ...]:
    """End the gateway by SIGKILL in the middle of every walk."""
    return _bars("kill-gateway", stage, *_disturbed(stage, _kill_gateway), is_timed=True)


def stop_triton(stage: Stage) -> tuple[Bar, ...]:
    """Stop the inference server for three seconds in the middle of every walk."""
    return _bars("stop-triton", stage, *_disturbed(stage, _stop_server), is_timed=False)


def _disturbed(
    stage: Stage, disturb: Callable[[Stage], float]
) -> tuple[dict[int, Walked], list[Walked], float]:
    """Walk undisturbed, then again and break something; return both, and when it was back."""
    num_frames = stage.config.num_frames
    expected = stage.undisturbed(stage.seeds(), num_frames)
    walks = [Walked(seed) for seed in stage.seeds()]

    async def walk_all() -> None:
        await asyncio.gather(
            *(walk(stage.url, walked.seed, num_frames, into=walked) for walked in walks)
        )

    walking = threading.Thread(target=lambda: asyncio.run(walk_all()), name="walks")
    with stage.watched():
        walking.start()
        _wait(lambda: _has_come_to(walks, num_frames // 3), walking)
        mended_at = disturb(stage)
        while walking.is_alive():
            stage.report(sum(len(each.indices) for each in walks), len(walks) * (num_frames + 1))
            walking.join(1.0)
    return expected, walks, mended_at


def _bars(
    name: str,
    stage: Stage,
    expected: dict[int, Walked],
    walks: Sequence[Walked],
    mended_at: float,
    *,
    is_timed: bool,
) -> tuple[Bar, ...]:
    for walked in walks:
        if walked.failure:
            stage.tell(f"{name}: the session of seed {walked.seed} failed: {walked.failure}")
    alike = sum(walked.is_as(expected[walked.seed]) for walked in walks)
    hit = [each for each in walks if (each.arrivals or [0.0])[-1] > mended_at]
    bars = [
        Bar(
            name=f"{name}: sessions lost",
            value=sum(bool(each.failure) for each in walks),
            limit=0,
            sense="at most",
        ),
        Bar(
            name=f"{name}: sessions with the frames of an undisturbed walk, each once, in order",
            value=alike,
            limit=len(walks),
            sense="at least",
        ),
        Bar(
            name=f"{name}: sessions that were still walking as it was back",
            value=len(hit),
            limit=1,
            sense="at least",
        ),
    ]
    recovered = recovery_seconds(walks, mended_at)
    if is_timed and recovered:
        bars.append(
            Bar(
                name=f"{name}: longest from the restart to the next frame",
                value=max(recovered),
                limit=MOST_RESUME_SECONDS,
                sense="at most",
                unit="s",
            )
        )
    return tuple(bars)


def _kill_server(stage: Stage) -> float:
    server = stage.service.current.server
    killed = ProcessIdentity.of(server.pid or 0)
    if killed is None:
        message = "the inference server is not there to be killed"
        raise ServingError(message)
    os.kill(killed.pid, signal.SIGKILL)
    # The gateway sees it as back before the watchman has played its own segment on it.
    _wait(lambda: not _is_up(stage))
    _wait(lambda: _is_up(stage))
    return time.monotonic()


def _kill_gateway(stage: Stage) -> float:
    gateway = stage.service.gateway
    killed = gateway.pid
    os.kill(killed, signal.SIGKILL)
    _wait(lambda: gateway.pid_or_none not in {killed, None} and gateway.is_answering())
    return time.monotonic()


def _stop_server(stage: Stage) -> float:
    group = os.getpgid(stage.service.current.server.pid or 0)
    os.killpg(group, signal.SIGSTOP)
    try:
        threading.Event().wait(STOPPED_SECONDS)
    finally:
        os.killpg(group, signal.SIGCONT)
    return time.monotonic()


def _is_up(stage: Stage) -> bool:
    address = stage.service.current.address
    return any(each.is_up for each in stage.service.admin.backends() if each.address == address)


def _has_come_to(walks: Sequence[Walked], num_frames: int) -> bool:
    return all(len(each.indices) > num_frames or each.failure for each in walks)


def _wait(condition: Callable[[], bool], walking: threading.Thread | None = None) -> None:
    deadline = time.monotonic() + _LONGEST_RESTART_SECONDS
    while not condition():
        if time.monotonic() > deadline or (walking is not None and not walking.is_alive()):
            message = "the walks ended, or a restart took too long, before anything was seen of it"
            raise ServingError(message)
        time.sleep(_POLL_SECONDS)
