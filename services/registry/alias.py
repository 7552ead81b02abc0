"""The alias kept in step with the audit log: each move begun, made and done, or told apart.

The log in the store is the truth and the registry's alias follows it. A tag of the registered
model holds the hash of the last move begun, so that a log whose end was cut off is noticed. It does
not know who may become champion.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.registry.audit import AuditEntry, AuditLog, Move, Phase, unfinished_move
from services.registry.champion import DEFAULT_ALIAS, DEFAULT_MODEL, champion_of
from services.registry.lease import Lease
from services.registry.models import ModelRegistry
from worldloom.errors import PromotionError
from worldloom.log import log_event
from worldloom.store.protocol import ArtifactStore

logger = logging.getLogger(__name__)

AUDIT_TAG = "audit_head"


@dataclass
class GuardedAlias:
    """One alias of one registered model, and its audit log.

    Attributes:
        store: where the log is.
        models: the registry.
        model: name of the registered model.
        alias: the alias that is guarded.
        now: unix time in seconds.
    """

    store: ArtifactStore
    models: ModelRegistry
    model: str = DEFAULT_MODEL
    alias: str = DEFAULT_ALIAS
    now: Callable[[], float] = time.time

    def entries(self) -> list[AuditEntry]:
        """Return the whole log, verified."""
        return AuditLog(self.store, self.model).entries()

    def target(self) -> str:
        """Return the version that the registry's alias points to now, empty for none."""
        return self.models.alias(self.alias)

    def settle(self, lease: Lease, verify: Callable[[str], object]) -> list[AuditEntry]:
        """Finish what a killed promoter began, and require that log and registry agree.

        Args:
            lease: the lease under which this happens.
            verify: raises for a version that may not become champion.
        """
        entries = self.entries()
        unfinished = unfinished_move(entries)
        if unfinished is not None:
            alias = self.target()
            if alias not in (unfinished.from_version, unfinished.to_version):
                raise PromotionError(self._disagreement(alias, unfinished.to_version))
            if unfinished.to_version:
                verify(unfinished.to_version)
            log_event(logger, "move_finished_for_another", version=unfinished.to_version)
            self._finish(lease, entries, unfinished)
        self.require_agreement(entries)
        return entries

    def require_agreement(self, entries: list[AuditEntry]) -> None:
        """Refuse to go on where log and registry disagree.

        Raises:
            PromotionError: saying how, and how to mend it.
        """
        champion = champion_of(entries)
        alias = self.target()
        expected = champion.version if champion else ""
        if alias != expected:
            raise PromotionError(self._disagreement(alias, expected))
        if not self.tag_fits(entries):
            message = (
                f"the audit log of {self.model} ends before what the registry saw of it, so it "
                "was cut: bring it back, or accept the alias with `worldloom registry adopt`"
            )
            raise PromotionError(message)

    def _disagreement(self, alias: str, expected: str) -> str:
        return (
            f"alias {self.alias} of {self.model} points to version {alias or 'none'}, but the "
            f"audit log says {expected or 'none'}: somebody moved it from outside; accept that "
            "with `worldloom registry adopt` or undo it with `worldloom registry restore`"
        )

    def tag_fits(self, entries: list[AuditEntry]) -> bool:
        """Tell whether the log ends where the registry last saw it."""
        begun = [entry.hash for entry in entries if entry.phase == "begun"]
        return self.models.tag(AUDIT_TAG) == (begun[-1] if begun else "")

    def carry_out(self, lease: Lease, entries: list[AuditEntry], move: Move) -> None:
        """Make a move: begun, alias, done; the entries grow by both."""
        lease.require_held()
        self._append(lease, entries, "begun", move)
        self._finish(lease, entries, move)

    def _finish(self, lease: Lease, entries: list[AuditEntry], move: Move) -> None:
        lease.require_held()
        self.models.set_tag(AUDIT_TAG, entries[-1].hash)
        if self.target() != move.to_version:
            self.models.set_alias(self.alias, move.to_version)
        self._append(lease, entries, "done", move)

    def abandon_unfinished(self, lease: Lease) -> list[AuditEntry]:
        """Return the log, with a move that was begun and not finished given up."""
        entries = self.entries()
        unfinished = unfinished_move(entries)
        if unfinished is not None:
            self.models.set_tag(AUDIT_TAG, entries[-1].hash)
            self._append(lease, entries, "abandoned", unfinished)
        return entries

    def _append(self, lease: Lease, entries: list[AuditEntry], phase: Phase, move: Move) -> None:
        written = AuditLog(self.store, self.model).append(
            entries,
            phase=phase,
            move=move,
            alias=self.alias,
            lease_token=lease.token,
            time=datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds"),
        )
        entries.append(written)
