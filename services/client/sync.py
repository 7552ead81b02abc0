"""The same session for programs without asyncio.

    with connect_sync("http://127.0.0.1:8080", options=SessionOptions(seed=7)) as session:
        session.act(keyboard, mouse)
        session.finish()
        for frame in session.frames():
            ...

Each session has an event loop on one thread of its own, which ends with it; everything else is
`session`, so that both faces keep the same promises.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from ..protocol import Ready
from ..session_state import SessionState
from .courier import OnNews
from .frame import Frame
from .options import DEFAULT_OPTIONS, DEFAULT_TIMEOUTS, SessionOptions, Timeouts
from .session import Receipt, Session, connect

T = TypeVar("T")


class SyncReceipt:
    """What becomes of actions: they are received, then frames obey them."""

    def __init__(self, receipt: Receipt, loop: _LoopThread) -> None:
        """Speak of actions of one `act`."""
        self.first_action_index = receipt.first_action_index
        self.num_actions = receipt.num_actions
        self._receipt = receipt
        self._loop = loop

    def received(self) -> None:
        """Wait until the server has the last of the actions in its queue."""
        self._loop.call(self._receipt.received())

    def applied(self) -> int:
        """Wait for the first frame that obeys and return its index."""
        return self._loop.call(self._receipt.applied())


class SyncSession:
    """One session; made by `connect_sync`."""

    def __init__(self, session: Session, loop: _LoopThread) -> None:
        """Drive a session that lives in a loop's thread."""
        self._session = session
        self._loop = loop

    @property
    def ready(self) -> Ready:
        """What the gateway said as it opened the session, or resumed it the last time."""
        return self._session.ready

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._session.state

    @property
    def num_dropped(self) -> int:
        """Frames that were left out because they were late, by the gateway or here."""
        return self._session.num_dropped

    @property
    def num_reconnects(self) -> int:
        """How often a broken connection was resumed."""
        return self._session.num_reconnects

    def act(self, keyboard: ArrayLike, mouse: ArrayLike) -> SyncReceipt:
        """Append actions [F, 6] and [F, 2], or one; does not wait for the server."""
        return SyncReceipt(self._loop.call(self._session.act(keyboard, mouse)), self._loop)

    def finish(self) -> None:
        """Ask for the frames of all actions so far and for the end after them."""
        self._loop.call(self._session.finish())

    def frames(self) -> Iterator[Frame]:
        """Yield every frame once and in order, the start image first, until the session ends."""
        frames = self._session.frames()
        while (frame := self._loop.call(_next(frames))) is not None:
            yield frame

    def pause(self) -> None:
        """Let the server make no more frames; its slot may be another's meanwhile."""
        self._loop.call(self._session.pause())

    def unpause(self) -> None:
        """End a pause; raises `SessionError` `no_free_slot` while the device is full."""
        self._loop.call(self._session.unpause())

    def snapshot(self) -> int:
        """Let the server store the session's state now; return the last frame in it."""
        return self._loop.call(self._session.snapshot())

    def ping(self) -> float:
        """Return the seconds of a round trip to the gateway."""
        return self._loop.call(self._session.ping())


@contextmanager
def connect_sync(
    url: str,
    *,
    api_key: str | None = None,
    token: str | None = None,
    options: SessionOptions = DEFAULT_OPTIONS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    on_news: OnNews | None = None,
) -> Iterator[SyncSession]:
    """Give an open session, as `connect` does; `on_news` is called on the session's thread."""
    with _LoopThread() as loop:
        stack = AsyncExitStack()
        opening = connect(
            url, api_key=api_key, token=token, options=options, timeouts=timeouts, on_news=on_news
        )
        session = loop.call(stack.enter_async_context(opening))
        try:
            yield SyncSession(session, loop)
        finally:
            loop.call(stack.aclose())


class _LoopThread:
    """An event loop that runs on a thread of its own, from `with` to its end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="worldloom-client", daemon=True
        )

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return what it returns; whoever interrupts ends it too."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def __enter__(self) -> _LoopThread:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(frames: AsyncIterator[Frame]) -> Frame | None:
    return await anext(frames, None)
