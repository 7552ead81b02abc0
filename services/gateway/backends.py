"""The engines behind the gateway: which there are, how they do, how much room they have.

Each backend is asked again and again what it serves; one that does not answer gets no new
sessions, and is asked a little less often. An engine's count of slots is the truth, the gateway's
is the latest it heard, corrected by what it opened and closed itself since. It does not know
sessions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator

from pydantic import Field

from services import contract
from services.contract import ErrorCode, SessionError
from services.gateway.link import EngineLink
from services.gateway.routing import Route, choose
from worldloom.config import Config
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_MAX_BACKOFF_SECONDS = 1.0  # players wait for one that comes back
_SOON_SECONDS = 0.1  # a slot that was given back is free within about a segment


class BackendConfig(Config):
    """One engine that sessions may go to."""

    address: str = Field(
        min_length=1, description="host:port of its gRPC, or dns://host:port for all behind a name"
    )
    model_version: str = Field("", description="version of its release in the registry")
    release: str = Field(
        "", description="digest that this is the version of, empty for whatever is served there"
    )
    share: float = Field(
        1.0, ge=0, description="weight of its release among new sessions, 0 for pinned ones only"
    )


class Backend:
    """One engine as the gateway sees it."""

    def __init__(self, config: BackendConfig, link: EngineLink) -> None:
        """Know it by its link; it counts as down until it has answered."""
        self.config = config
        self.link = link
        self.description: contract.Description | None = None
        self.images: dict[str, str] = {}  # of its worlds, base64 of JPEG
        self.is_up = False
        self.is_draining = False
        self.num_sessions = 0  # of this gateway
        self._num_others = 0
        self._ask_soon = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it is."""
        return self.config.address

    @property
    def digest(self) -> str:
        """Digest of its release, empty while it is unknown."""
        return "" if self.description is None else self.description.release

    @property
    def model_version(self) -> str:
        """Version of its release in the registry, empty while it serves another one.

        While releases are replaced, one name stands for engines of both.
        """
        is_its = self.config.release in {"", self.digest}
        return self.config.model_version if is_its else ""

    @property
    def share(self) -> float:
        """Weight of its release among new sessions."""
        return self.config.share

    @property
    def num_free(self) -> int:
        """Slots that are free, as far as the gateway knows."""
        if self.description is None or not self.is_up:
            return 0
        return self.description.num_slots - self._num_others - self.num_sessions

    def reserve(self) -> None:
        """Count one more session of this gateway."""
        self.num_sessions += 1

    def release(self) -> None:
        """Count one session less."""
        self.num_sessions -= 1
        self.ask_soon()

    def mark_full(self) -> None:
        """Take in that the engine has just refused a session for want of a slot."""
        if self.description is not None:
            self._num_others = max(0, self.description.num_slots - self.num_sessions)
        self.ask_soon()

    def suspect(self) -> None:
        """Take in that a stream of this engine has broken: no new ones until it has answered."""
        self.is_up = False
        self.ask_soon()

    def ask_soon(self) -> None:
        """Ask the engine before it is due."""
        self._ask_soon.set()

    async def watch(self, seconds: float, on_change: Callable[[], None]) -> None:
        """Ask again and again how the engine does; never returns."""
        interval = seconds
        while True:
            is_answered = await self._ask(seconds)
            on_change()
            interval = seconds if is_answered else _slower(interval, seconds)
            try:
                async with asyncio.timeout(interval):
                    await self._ask_soon.wait()
                await asyncio.sleep(min(_SOON_SECONDS, seconds))
            except TimeoutError:
                continue
            finally:
                self._ask_soon.clear()

    async def _ask(self, seconds: float) -> bool:
        num_own = self.num_sessions
        try:
            description = await self.link.describe(max(seconds, 1.0), with_images=not self.images)
        except SessionError as error:
            if self.is_up:
                log_event(
                    logger, "backend_down", logging.WARNING,
                    address=self.address, reason=error.message,
                )  # fmt: skip
            self.is_up = False
            return False
        if not self.is_up:
            log_event(logger, "backend_up", address=self.address, release=description.release)
        if not self.images:
            self.images = {world.name: world.image for world in description.worlds}
        elif description.release != self.digest:
            self.images = {}  # another release came up here: asked for the next time
        self.description = description
        self.is_up = True
        # What was opened or closed while the answer was on its way is not counted twice.
        num_own = max(num_own, self.num_sessions)
        self._num_others = max(0, description.num_sessions - num_own)
        return True


class BackendPool:
    """All backends; sessions are told of changes through `on_change`."""

    def __init__(self, make_link: Callable[[str], EngineLink], health_seconds: float) -> None:
        """Reach a backend by its address through `make_link`."""
        self._make_link = make_link
        self._health_seconds = health_seconds
        self._backends: dict[str, Backend] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Backend]:
        """Iterate over the backends."""
        return iter(list(self._backends.values()))

    def __len__(self) -> int:
        """Return how many backends there are."""
        return len(self._backends)

    @property
    def is_any_up(self) -> bool:
        """Tell whether some backend answers and takes sessions."""
        return any(backend.is_up and not backend.is_draining for backend in self)

    @property
    def num_free(self) -> int:
        """Slots that are free on backends which take sessions."""
        return sum(max(0, each.num_free) for each in self if not each.is_draining)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call a function whenever room or health may have changed."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell the listeners."""
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener()

    async def wait_for_change(self, seconds: float) -> None:
        """Return after the next change, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def get(self, address: str) -> Backend | None:
        """Return the backend at an address."""
        return self._backends.get(address)

    def add(self, config: BackendConfig) -> Backend:
        """Take in a backend, or a known one's new label and share; ends its drain."""
        backend = self._backends.get(config.address)
        if backend is None:
            backend = Backend(config, self._make_link(config.address))
            self._backends[config.address] = backend
            self._watchers[config.address] = asyncio.create_task(
                backend.watch(self._health_seconds, self.changed)
            )
            log_event(logger, "backend_added", address=config.address)
        backend.config = config
        backend.is_draining = False
        self.changed()
        return backend

    def drain(self, backend: Backend) -> None:
        """Give a backend no new sessions."""
        backend.is_draining = True
        self.changed()

    def remove(self, backend: Backend) -> None:
        """Forget a backend; its sessions must be over."""
        del self._backends[backend.address]
        self._watchers.pop(backend.address).cancel()
        closing = asyncio.create_task(backend.link.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        log_event(logger, "backend_removed", address=backend.address)
        self.changed()

    def choose(self, route: Route) -> Backend | None:
        """Return the backend with room for a session, None when it must wait."""
        return choose(self._open_to(route), route)

    def choose_again(self, route: Route, without: Collection[str]) -> Backend | None:
        """Return the backend that has a session's state, else one that can read it.

        The first needs no room: the session is counted there already, or parked.
        """
        first = self._backends.get(route.address or "")
        is_usable = first is not None and first.is_up and first.address not in without
        if first is not None and is_usable and route.accepts(first.digest, first.model_version):
            return first
        others = (each for each in self._open_to(route) if each.address not in without)
        return choose(others, route)

    def require_known(self, route: Route) -> None:
        """Check that some backend, up or not, serves what is asked for.

        Raises:
            SessionError: `no_backend` or `unknown_release`.
        """
        if not self._backends:
            raise SessionError(ErrorCode.NO_BACKEND, "the gateway has no backend")
        known = [each for each in self if each.description is not None]
        if known and not any(route.accepts(each.digest, each.model_version) for each in known):
            names = ", ".join(sorted({each.model_version or each.digest for each in known}))
            wanted = route.release or ", ".join(route.allowed)
            sentence = f"release {wanted!r} is not served here, expected one of: {names}"
            raise SessionError(ErrorCode.UNKNOWN_RELEASE, sentence)

    async def close(self) -> None:
        """Stop asking and close all links."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        await asyncio.gather(*(backend.link.close() for backend in self), *self._closing)

    def _open_to(self, route: Route) -> Iterable[Backend]:
        # A session that is resumed goes back to a backend that drains: it finishes there.
        return (each for each in self if not each.is_draining or each.address == route.address)


def _slower(interval: float, seconds: float) -> float:
    """Return the next wait for a backend that does not answer; it was asked after `interval`."""
    return max(seconds, min(interval * 1.5, _MAX_BACKOFF_SECONDS))
