"""The way to the session store, on a thread of its own, so that the device never waits for it.

Jobs are done in the order in which they came; whoever asked is told on that thread. A store that
fails is logged and counted, and play goes on. It does not know sessions, slots or what a part
means.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.inference.session_store import SessionStore
from services.inference.stored_part import StoredPart, covered_names, join_parts, latest_names
from worldloom.errors import DataError, StoreError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_CLEAN_EVERY_SECONDS = 3600.0
# Whoever resumes after a restart comes first.
_FIRST_CLEAN_SECONDS = 60.0

Job = Callable[[SessionStore], None]


@dataclass(frozen=True)
class Lost:
    """Why a session that should be in the store cannot be had from it."""

    sentence: str


Fetched = StoredPart | Lost | None


class Keeper:
    """Keeps parts of sessions in a store, where there is one."""

    def __init__(
        self,
        store: SessionStore | None,
        *,
        max_stored_seconds: float,
        on_failure: Callable[[], None],
    ) -> None:
        """Prepare the queue; nothing is done before `start` or `work_pending`.

        Args:
            store: where parts are kept; without one nothing is asked of the keeper.
            max_stored_seconds: age at which what crashed sessions left is deleted.
            on_failure: called whenever the store fails.
        """
        self._store = store
        self._max_stored_seconds = max_stored_seconds
        self._on_failure = on_failure
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worldloom-keeper", daemon=True)

    @property
    def has_store(self) -> bool:
        """Tell whether sessions can be kept at all."""
        return self._store is not None

    def start(self) -> None:
        """Begin to work."""
        if self._store is not None:
            self._thread.start()

    def stop(self) -> None:
        """Do what waits and end the thread."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def save(
        self, part: StoredPart, on_done: Callable[[str], None], *, replaces_others: bool = False
    ) -> None:
        """Write a part; `on_done` is told "" or what went wrong.

        Args:
            part: what is written.
            on_done: called on the keeper's thread.
            replaces_others: whether smaller parts of the same units are deleted then.
        """
        session_id = part.record.session_id

        def job(store: SessionStore) -> None:
            failure = self._attempt(lambda: store.write(session_id, part.name, part.to_bytes()))
            on_done(failure)
            if replaces_others and not failure:
                self._attempt(
                    lambda: store.delete(session_id, covered_names(store.names(session_id), part))
                )

        self._jobs.put(job)

    def fetch(self, session_id: str, on_done: Callable[[Fetched], None]) -> None:
        """Read a session; `on_done` gets it whole, None if it is unknown, or why it is lost."""

        def job(store: SessionStore) -> None:
            found: Fetched
            try:
                found = _read_whole(store, session_id)
            except (StoreError, DataError) as error:
                found = Lost(self._failed(error))
            on_done(found)

        self._jobs.put(job)

    def forget(self, session_id: str) -> None:
        """Delete all parts of a session that is over; does nothing without a store."""

        def job(store: SessionStore) -> None:
            self._attempt(lambda: store.delete(session_id, store.names(session_id)))

        if self._store is not None:
            self._jobs.put(job)

    def work_pending(self) -> None:
        """Do what waits, on the calling thread; `start` gives that to a thread of its own."""
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                self._do(job)

    def _run(self) -> None:
        clean_at = time.monotonic() + _FIRST_CLEAN_SECONDS
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, clean_at - time.monotonic()))
            except queue.Empty:
                job, clean_at = self._clean, time.monotonic() + _CLEAN_EVERY_SECONDS
            if job is None:
                return
            self._do(job)

    def _do(self, job: Job) -> None:
        assert self._store is not None, "without a store nothing is asked of the keeper"
        # A fault in one session's job must not end the thread that keeps the others.
        try:
            job(self._store)
        except Exception:
            logger.exception("keeper_failed")
            self._on_failure()

    def _clean(self, store: SessionStore) -> None:
        def delete() -> None:
            count = store.delete_older_than(self._max_stored_seconds)
            if count:
                log_event(logger, "old_sessions_deleted", count=count)

        self._attempt(delete)

    def _attempt(self, action: Callable[[], None]) -> str:
        """Do something with the store; return "" or the sentence that says what went wrong."""
        try:
            action()
        except (StoreError, DataError) as error:
            return self._failed(error)
        return ""

    def _failed(self, error: StoreError | DataError) -> str:
        log_event(logger, "session_store_failed", logging.WARNING, message=str(error))
        self._on_failure()
        return str(error)


def _read_whole(store: SessionStore, session_id: str) -> StoredPart | None:
    names = latest_names(store.names(session_id))
    parts = [StoredPart.from_bytes(store.read(session_id, name)) for name in names]
    return join_parts(parts) if parts else None
