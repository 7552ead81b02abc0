"""An exclusive lease in the store: at most one process at a time moves the champion.

Lease number n is the record `leases/<name>/<n>.json`; the first writer of a number holds it until
it is released, expires, or its process is seen to be dead on this machine. The number grows with
each holder. Nothing here deletes or overwrites. It does not know what is done under the lease.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from worldloom.config import Config, parse_config
from worldloom.errors import PromotionError
from worldloom.log import log_event
from worldloom.store.protocol import ArtifactStore

logger = logging.getLogger(__name__)

DEFAULT_TTL_SECONDS = 120.0
_RETRY_SECONDS = 0.2


class Owner(Config):
    """The process that holds a lease."""

    host: str = Field(description="name of its machine, for people")
    process_space: str = Field(description="boot and process namespace in which the id counts")
    pid: int = Field(description="process id")
    started: float = Field(description="start of the process in clock ticks since boot")

    @classmethod
    def this_process(cls) -> Owner:
        """Return the identity of the running process."""
        pid = os.getpid()
        started = _start_ticks(pid)
        assert started is not None, "a running process has a start time"
        return cls(host=platform.node(), process_space=_process_space(), pid=pid, started=started)

    def is_known_dead(self) -> bool:
        """Tell whether it lived on this machine, since this boot, and is gone."""
        return self.process_space == _process_space() and _start_ticks(self.pid) != self.started


class LeaseRecord(Config):
    """Who holds a lease, and until when."""

    token: int = Field(ge=1, description="number of the lease")
    owner: Owner = Field(description="process that holds it")
    actor: str = Field(description="for whom it is held")
    expires: float = Field(description="time after which anyone may take the next, unix seconds")


@dataclass
class Lease:
    """Use as a context manager; `token` is the number held inside."""

    store: ArtifactStore
    name: str
    actor: str
    ttl_seconds: float = DEFAULT_TTL_SECONDS
    wait_seconds: float = DEFAULT_TTL_SECONDS + 5.0
    now: Callable[[], float] = time.time
    owner: Owner = field(default_factory=Owner.this_process)
    token: int = 0
    _expires: float = 0.0

    def __enter__(self) -> Lease:
        """Take the lease, waiting for its holder at most `wait_seconds`.

        Raises:
            PromotionError: naming the holder that did not let go.
        """
        deadline = time.monotonic() + self.wait_seconds
        while True:
            last = self._last_token()
            holder = self._holder(last)
            # The next number, not the latest's next: who came in between has it, and we lose.
            if holder is None and self._take(last + 1):
                return self
            if holder is not None and time.monotonic() > deadline:
                message = (
                    f"the lease {self.name} is held for {holder.actor} by process "
                    f"{holder.owner.pid} on {holder.owner.host} for another "
                    f"{holder.expires - self.now():.0f} s, expected it free"
                )
                raise PromotionError(message)
            if holder is not None:
                time.sleep(_RETRY_SECONDS)

    def __exit__(self, *exc_info: object) -> None:
        """Release the lease; the next may take it at once."""
        self.store.put_record(self._released_name(self.token), {"token": self.token})
        self.token = 0

    def require_held(self) -> None:
        """Refuse to go on under a lease that is over or that somebody else has followed.

        Raises:
            PromotionError: saying which.
        """
        if self.now() >= self._expires:
            message = f"the lease {self.name} expired after {self.ttl_seconds:.0f} s; run again"
            raise PromotionError(message)
        if self._last_token() != self.token:
            message = f"the lease {self.name} was taken over by another process; run again"
            raise PromotionError(message)

    def _holder(self, last: int) -> LeaseRecord | None:
        if last == 0 or self.store.get_record(self._released_name(last)) is not None:
            return None
        value = self.store.get_record(self._lease_name(last))
        record = parse_config(LeaseRecord, value or {}, where=self._lease_name(last))
        if record.expires <= self.now() or record.owner.is_known_dead():
            log_event(logger, "lease_taken_over", name=self.name, from_actor=record.actor)
            return None
        return record

    def _take(self, token: int) -> bool:
        expires = self.now() + self.ttl_seconds
        record = LeaseRecord(token=token, owner=self.owner, actor=self.actor, expires=expires)
        name = self._lease_name(token)
        if not self.store.put_record(name, record.model_dump(mode="json"), if_absent=True):
            return False
        self.token, self._expires = token, expires
        return True

    def _last_token(self) -> int:
        names = self.store.list_records(f"leases/{self.name}/")
        tokens = (name.rsplit("/", 1)[1].split(".", 1)[0] for name in names)
        return max((int(token) for token in tokens), default=0)

    def _lease_name(self, token: int) -> str:
        return f"leases/{self.name}/{token:08d}.json"

    def _released_name(self, token: int) -> str:
        return f"leases/{self.name}/{token:08d}.released.json"


def _process_space() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _start_ticks(pid: int) -> float | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state == "Z" else float(fields[18])
