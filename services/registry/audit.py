"""The append-only log of who moved the champion, as records whose hashes form a chain.

Entry n is the record `audit/<model>/<n>.json`; it holds the hash of entry n-1 and of itself, and
only the first writer of a number succeeds, so that appending is a compare-and-set. Each move is
two entries: `begun` before the registry is touched and `done` after, so that a move cut short can
be finished. What the log says is the truth; MLflow's alias follows it. It knows the store and
neither MLflow nor what a release is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from worldloom.config import Config, digest_of, parse_config
from worldloom.errors import ConfigError, PromotionError
from worldloom.store.protocol import ArtifactStore

Event = Literal["promotion", "rollback", "adoption", "restoration"]
Phase = Literal["begun", "done", "abandoned"]


class Move(Config):
    """The champion goes from one version to another; empty text stands for none."""

    event: Event = Field(description="why the champion moves")
    to_version: str = Field(description="version in the registry that becomes champion")
    to_release: str = Field(description="release digest of that version")
    from_version: str = Field(description="version that was champion")
    from_release: str = Field(description="release digest of the version that was champion")
    report: str = Field(default="", description="digest of the evaluation report that allowed it")
    actor: str = Field(description="who asked for it")
    reason: str = Field(default="", description="why, in the actor's words")


class AuditEntry(Config):
    """One line of the log."""

    index: int = Field(ge=1, description="position in the log, counted from 1")
    previous: str = Field(description="hash of the entry before, empty for the first")
    model: str = Field(description="name of the registered model")
    alias: str = Field(description="alias that moves")
    phase: Phase = Field(description="begun before the registry is touched, done after")
    move: Move = Field(description="what moves")
    lease_token: int = Field(ge=1, description="number of the lease it was written under")
    time: str = Field(description="UTC time of writing, ISO 8601")
    hash: str = Field(description="sha256 over everything above")


class AuditLog:
    """The log of one registered model in one store."""

    def __init__(self, store: ArtifactStore, model: str) -> None:
        """Open the log; it need not exist yet."""
        self._store = store
        self.model = model

    def entries(self) -> list[AuditEntry]:
        """Return the whole log, verified.

        Raises:
            PromotionError: naming the first entry that is missing, changed or out of place.
        """
        prefix = f"audit/{self.model}/"
        names = self._store.list_records(prefix)
        entries: list[AuditEntry] = []
        for index, name in enumerate(names, start=1):
            if name != self._name(index):
                message = f"audit log of {self.model}: entry {index} is missing (found {name})"
                raise PromotionError(message)
            entries.append(self._read(name))
        for problem in chain_problems(entries, self.model):
            message = f"audit log of {self.model} was tampered with: {problem}"
            raise PromotionError(message)
        return entries

    def append(
        self,
        before: Sequence[AuditEntry],
        *,
        phase: Phase,
        move: Move,
        alias: str,
        lease_token: int,
        time: str,
    ) -> AuditEntry:
        """Write the entry that follows those that were read.

        Raises:
            PromotionError: when somebody else has written that entry meanwhile.
        """
        fields: dict[str, object] = {
            "index": len(before) + 1,
            "previous": before[-1].hash if before else "",
            "model": self.model,
            "alias": alias,
            "phase": phase,
            "move": move.model_dump(mode="json"),
            "lease_token": lease_token,
            "time": time,
        }
        entry = parse_config(AuditEntry, fields | {"hash": digest_of(fields)})
        name = self._name(entry.index)
        if not self._store.put_record(name, entry.model_dump(mode="json"), if_absent=True):
            message = (
                f"audit log of {self.model}: entry {entry.index} was written by somebody else "
                "meanwhile, so this move was lost; run it again"
            )
            raise PromotionError(message)
        return entry

    def _name(self, index: int) -> str:
        return f"audit/{self.model}/{index:08d}.json"

    def _read(self, name: str) -> AuditEntry:
        value = self._store.get_record(name)
        try:
            return parse_config(AuditEntry, value or {}, where=name)
        except ConfigError as error:
            message = f"audit log of {self.model} was tampered with: {error}"
            raise PromotionError(message) from error


def entry_hash(entry: AuditEntry) -> str:
    """Return the hash that an entry with this content must carry."""
    return digest_of(entry.model_dump(mode="json", exclude={"hash"}))


def chain_problems(entries: Sequence[AuditEntry], model: str) -> Iterator[str]:
    """Yield a sentence for each entry that breaks the chain."""
    previous: AuditEntry | None = None
    for index, entry in enumerate(entries, start=1):
        if entry.hash != entry_hash(entry):
            yield f"entry {index} does not have the hash it states"
        elif entry.index != index or entry.model != model:
            yield f"entry {index} belongs elsewhere (entry {entry.index} of {entry.model})"
        elif entry.previous != (previous.hash if previous else ""):
            yield f"entry {index} does not follow entry {index - 1}"
        elif not _phase_fits(entry, previous):
            yield f"entry {index} ({entry.phase}) does not fit the entry before"
        previous = entry


def unfinished_move(entries: Sequence[AuditEntry]) -> Move | None:
    """Return the move that was begun last and not ended."""
    return entries[-1].move if entries and entries[-1].phase == "begun" else None


def last_done(entries: Sequence[AuditEntry]) -> AuditEntry | None:
    """Return the entry that made the present champion."""
    return next((entry for entry in reversed(entries) if entry.phase == "done"), None)


def _phase_fits(entry: AuditEntry, previous: AuditEntry | None) -> bool:
    is_open = previous is not None and previous.phase == "begun"
    if entry.phase == "begun":
        return not is_open
    return is_open and previous is not None and previous.move == entry.move
