"""Where drills take place: a service on this machine, its watchman, and walks to compare with.

It does not know what a drill breaks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from services.inference.engine_config import EngineConfig
from services.inference.repository import RepositoryConfig
from services.load.walk import Walked, walk
from services.local.service import LayOut, LocalConfig, LocalService, lay_out_release
from services.processes import free_port
from services.release_source import ReleaseSource
from worldloom.config import Config
from worldloom.errors import ServingError

Report = Callable[[int, int], None]
Tell = Callable[[str], None]

_WATCH_SECONDS = 0.2


class DrillConfig(Config):
    """How hard a drill is."""

    num_sessions: int = Field(4, ge=1, description="live sessions")
    num_frames: int = Field(240, ge=12, description="frames that a session walks")
    num_cycles: int = Field(10_000, ge=10, description="sessions opened and ended by `churn`")
    num_messages: int = Field(20_000, ge=10, description="malformed messages and requests sent")
    num_replacements: int = Field(20, ge=1, description="replacements of the model version")
    seconds: float = Field(30.0, gt=0, description="time of play, where players have a pace")
    seed: int = Field(0, ge=0, description="seed of walks and of what is broken when")


@dataclass
class Stage:
    """A running service with room for a drill.

    Attributes:
        service: what runs.
        sources: releases that may be served, the first is served to begin with.
        config: how hard the drill is.
        tell: called with a sentence for people.
        report: called with how much of how much is done.
    """

    service: LocalService
    sources: Sequence[ReleaseSource]
    config: DrillConfig
    tell: Tell
    report: Report
    _watched: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self.service.url

    def seeds(self) -> range:
        """Return the seeds of the sessions."""
        return range(self.config.seed, self.config.seed + self.config.num_sessions)

    def undisturbed(self, seeds: Sequence[int], num_frames: int) -> dict[int, Walked]:
        """Walk these seeds one after the other while nothing is broken.

        Raises:
            ServingError: when even that fails.
        """
        walks = {}
        for seed in seeds:
            walked = asyncio.run(walk(self.url, seed, num_frames))
            if walked.failure or not walked.is_gapless:
                message = f"the undisturbed walk of seed {seed} failed: {walked.failure or 'gaps'}"
                raise ServingError(message)
            walks[seed] = walked
        return walks

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let the service start again what dies, as `worldloom up` does."""
        self._watched.clear()
        failures: list[BaseException] = []

        def keep_watch() -> None:
            try:
                while not self._watched.wait(_WATCH_SECONDS):
                    self.service.watch()
            except ServingError as error:
                failures.append(error)

        watchman = threading.Thread(target=keep_watch, name="watchman")
        watchman.start()
        try:
            yield
        finally:
            self._watched.set()
            watchman.join()
        if failures:
            raise failures[0]


@contextmanager
def stage(
    state: Path,
    sources: Sequence[ReleaseSource],
    config: DrillConfig,
    tell: Tell,
    report: Report,
    *,
    lay_out: LayOut = lay_out_release,
) -> Iterator[Stage]:
    """Give a running service; it is stopped at the end of the block."""
    engine = EngineConfig(num_slots=max(4, config.num_sessions))
    local = LocalConfig(port=free_port(), repository=RepositoryConfig(engine=engine))
    service = LocalService(state, local, tell, lay_out=lay_out)
    try:
        service.start(sources[0])
        yield Stage(service, sources, config, tell, report)
    finally:
        service.stop()


def nothing_to_report(_done: int, _total: int) -> None:
    """Report to nobody."""
