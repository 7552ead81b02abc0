"""The drill that replaces the model version again and again under live sessions.

Each replacement is a new process beside the old one, which goes when its last session has ended.
Walkers walk one session after the other meanwhile, so that every replacement finds sessions in the
middle. No session may be dropped, and each must be the undisturbed walk of the release that it
began on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

from services.load.drills.stage import Stage
from services.load.walk import Walked, walk
from services.release_source import ReleaseSource
from worldloom.bench.record import Bar

_NUM_SEEDS = 4  # walkers share them, so that few undisturbed walks are enough
_MOST_RETIRING = 1  # old engines that may still have sessions as another one is started
_POLL_SECONDS = 0.2


def replace(stage: Stage) -> tuple[Bar, ...]:
    """Replace the version so many times and judge every session that was walked meanwhile."""
    expected = _expected(stage)
    walks: list[Walked] = []
    is_over = threading.Event()

    async def keep_walking(index: int) -> None:
        seed = stage.config.seed + index % _NUM_SEEDS
        while not is_over.is_set():
            walked = Walked(seed)
            walks.append(walked)
            await walk(stage.url, seed, stage.config.num_frames, into=walked)

    async def walk_all() -> None:
        await asyncio.gather(*(keep_walking(k) for k in range(stage.config.num_sessions)))

    walking = threading.Thread(target=lambda: asyncio.run(walk_all()), name="walks")
    walking.start()
    crossed = 0
    try:
        for index in range(stage.config.num_replacements):
            crossed += _replace_once(stage, stage.sources[(index + 1) % len(stage.sources)], walks)
            stage.report(index + 1, stage.config.num_replacements)
    finally:
        is_over.set()
        walking.join()
    _let_old_engines_go(stage, 0)
    return _bars(stage, walks, expected, crossed)


def _replace_once(stage: Stage, source: ReleaseSource, walks: list[Walked]) -> int:
    """Replace the version once; return how many sessions were live as it happened."""
    stage.service.replace(source)
    live = sum(1 for walked in walks if 0 < len(walked.indices) <= stage.config.num_frames)
    _let_old_engines_go(stage, _MOST_RETIRING)
    return live


def _let_old_engines_go(stage: Stage, most: int) -> None:
    pause = threading.Event()
    while len(stage.service.servers) > 1 + most:
        pause.wait(_POLL_SECONDS)
        stage.service.watch()


def _expected(stage: Stage) -> Mapping[tuple[str, int], Walked]:
    """Walk every seed undisturbed on every release, each served alone; the first is back then."""
    expected = {}
    seeds = range(stage.config.seed, stage.config.seed + _NUM_SEEDS)
    others = {source.digest: source for source in stage.sources}
    first = stage.sources[0]
    del others[first.digest]
    for source in (*others.values(), first):
        if others:
            stage.service.replace(source)
            _let_old_engines_go(stage, 0)
        for seed, walked in stage.undisturbed(seeds, stage.config.num_frames).items():
            expected[walked.release, seed] = walked
    return expected


def _bars(
    stage: Stage,
    walks: list[Walked],
    expected: Mapping[tuple[str, int], Walked],
    crossed: int,
) -> tuple[Bar, ...]:
    for walked in walks:
        if walked.failure:
            stage.tell(f"replace: a session of seed {walked.seed} failed: {walked.failure}")
    alike = sum(
        (walked.release, walked.seed) in expected
        and walked.is_as(expected[walked.release, walked.seed])
        for walked in walks
    )
    return (
        Bar(
            name="replace: replacements of the version",
            value=stage.config.num_replacements,
            limit=stage.config.num_replacements,
            sense="at least",
        ),
        Bar(
            name="replace: sessions in the middle of which a replacement fell",
            value=crossed,
            limit=stage.config.num_replacements,
            sense="at least",
        ),
        Bar(
            name="replace: sessions dropped",
            value=sum(bool(walked.failure) for walked in walks),
            limit=0,
            sense="at most",
        ),
        Bar(
            name="replace: sessions with a frame lost, repeated, out of order or different",
            value=len(walks) - alike,
            limit=0,
            sense="at most",
        ),
        Bar(
            name="replace: sessions that ended on another version than they began on",
            value=sum(len(walked.versions) > 1 for walked in walks),
            limit=0,
            sense="at most",
        ),
    )
