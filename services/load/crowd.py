"""Many players at once, in a process of their own, and the figures of what they saw together.

Players of one process share its time, so they are kept out of the process that is measured. It
does not know how a gateway is started.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import uvloop
from pydantic import Field

from services.load.arrivals import poisson_arrivals
from services.load.player import Played, PlayerConfig, play
from worldloom.config import Config
from worldloom.errors import ServingError

Tick = Callable[[], None]


class CrowdConfig(Config):
    """Who comes, and when."""

    num_players: int = Field(8, ge=1, description="players in all")
    arrival_seconds: float = Field(
        2.0, ge=0, description="time in which they arrive on average, as a Poisson process"
    )
    seed: int = Field(0, ge=0, description="seed of arrivals; player k plays with seed + k")
    player: PlayerConfig = Field(PlayerConfig(), description="how each plays")
    num_slow: int = Field(0, ge=0, description="of them, players that take frames slowly")
    slow: PlayerConfig = Field(
        PlayerConfig(pace=0.1), description="how the slow ones play; they come first"
    )


async def play_all(url: str, config: CrowdConfig) -> list[Played]:
    """Let everybody play and return what they saw, the slow ones first."""

    async def come_and_play(index: int, after: float) -> Played:
        await asyncio.sleep(after)
        player = config.slow if index < config.num_slow else config.player
        return await play(url, player, seed=config.seed + index)

    arrivals = poisson_arrivals(config.num_players, config.arrival_seconds, config.seed)
    return await asyncio.gather(*(come_and_play(k, after) for k, after in enumerate(arrivals)))


class Crowd:
    """Players that play while the caller does something else."""

    def __init__(self, process: SpawnProcess, results: Connection) -> None:
        """Follow a crowd in another process."""
        self._process = process
        self._results = results

    @property
    def is_over(self) -> bool:
        """Tell whether everybody has played."""
        return self._results.poll()

    def wait(self, tick: Tick, *, every_seconds: float = 1.0) -> list[Played]:
        """Wait until everybody has played, calling `tick` meanwhile, and return what they saw.

        Raises:
            ServingError: when the players' process dies.
        """
        while not self._results.poll(every_seconds):
            tick()
        try:
            played: list[Played] = self._results.recv()
        except EOFError as error:
            message = f"the players' process ended with code {self._process.exitcode}"
            raise ServingError(message) from error
        return played


@contextmanager
def crowd(url: str, config: CrowdConfig) -> Iterator[Crowd]:
    """Send players to a gateway; they are gone at the end of the block."""
    # A fresh interpreter: nothing of this process's threads, servers or memory is in it.
    context = multiprocessing.get_context("spawn")
    results, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_play_into, args=(sender, url, config), name="players", daemon=True
    )
    process.start()
    sender.close()  # so that the end of the process is the end of its results
    try:
        yield Crowd(process, results)
    finally:
        process.terminate()
        process.join()
        results.close()


def _play_into(sender: Connection, url: str, config: CrowdConfig) -> None:
    # The players' own time is in what they measure, so as little of it as can be.
    sender.send(uvloop.run(play_all(url, config)))


def joined(lists: Sequence[Sequence[float]]) -> list[float]:
    """Return all values of several lists."""
    return [value for values in lists for value in values]
