"""The only code that moves the champion: under a lease, against what was expected, and audited.

The audit log in the store is the truth and MLflow's alias follows it. A move is written to the log
as begun, then the alias is set, then the move is written as done; a promoter that was killed in
between is finished by whoever comes next. An alias that somebody moved by hand stops everything
until a person says which is right (`adopt` or `restore`). It knows neither how a release was
judged nor who serves it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from services.registry.alias import GuardedAlias
from services.registry.audit import AuditEntry, Event, Move, unfinished_move
from services.registry.champion import (
    DEFAULT_ALIAS,
    DEFAULT_MODEL,
    ChampionRecord,
    champion_of,
    has_been_champion,
)
from services.registry.lease import DEFAULT_TTL_SECONDS, Lease
from services.registry.lineage import lineage_tags
from services.registry.models import RELEASE_TAG, ModelRegistry, ModelVersion, artifact_source
from services.registry.verdict import Verdict, read_verdict
from worldloom.config import Config
from worldloom.errors import ArtifactError, PromotionError
from worldloom.log import log_event
from worldloom.store.protocol import ArtifactStore

logger = logging.getLogger(__name__)

Decision = Literal["promoted", "already-champion", "refused"]


class Outcome(Config):
    """What became of a wish to promote, and who is champion now."""

    decision: Decision = Field(description="what was done")
    reasons: tuple[str, ...] = Field(description="why, a sentence each")
    version: str = Field(description="version that is champion now, empty for none")
    release: str = Field(description="digest of the release that is champion now, or empty")


@dataclass
class Guard:
    """Moves the alias of one registered model.

    Attributes:
        store: where releases, reports, leases and the audit log are.
        models: the registry.
        actor: for whom the moves are made, kept in the log.
        model: name of the registered model.
        alias: the alias that is guarded.
        lease_seconds: how long a move may take before another may follow.
        now: unix time in seconds.
    """

    store: ArtifactStore
    models: ModelRegistry
    actor: str
    model: str = DEFAULT_MODEL
    alias: str = DEFAULT_ALIAS
    lease_seconds: float = DEFAULT_TTL_SECONDS
    now: Callable[[], float] = time.time

    def promote(self, release: str, report: str, *, commit: str = "", reason: str = "") -> Outcome:
        """Make a release champion if the gate passed it against the present champion.

        Raises:
            PromotionError: if the release is damaged, the report is about something else, or the
                champion is not the one the release was compared with.
        """
        verdict = read_verdict(self.store, report, release)
        if verdict.verdict != "pass":
            return self._refusal(verdict.reasons)
        self._verify(release)
        alias = self._guarded()
        with self._lease() as lease:
            entries = alias.settle(lease, self._verified_version)
            champion = champion_of(entries)
            if champion is not None and champion.release == release:
                return _outcome("already-champion", champion, verdict.reasons)
            if _was_rolled_back(entries, release, report):
                return self._refusal((f"{release} was rolled back; only a new report allows it",))
            self._expect_incumbent(champion, verdict, release)
            version = self._version_of(release, report, champion, commit)
            move = self._move(
                "promotion", version.version, release, champion, report=report, reason=reason
            )
            alias.carry_out(lease, entries, move)
        log_event(logger, "champion_promoted", version=version.version, release=release)
        return _outcome("promoted", champion_of(entries), verdict.reasons)

    def rollback(self, to_version: str = "", *, reason: str = "") -> ChampionRecord:
        """Make a former champion champion again, by default the one before the present one.

        Raises:
            PromotionError: if there is none, or its version or artifact is gone or damaged.
        """
        alias = self._guarded()
        with self._lease() as lease:
            entries = alias.settle(lease, self._verified_version)
            champion = champion_of(entries)
            target = to_version or (champion.predecessor_version if champion else "")
            if champion is None or not target or target == champion.version:
                present = champion.version if champion else "none"
                message = f"no version to go back to from version {present}, expected a former one"
                raise PromotionError(message)
            if not has_been_champion(entries, target):
                message = f"version {target} was never champion, expected a former one: promote it"
                raise PromotionError(message)
            version = self._verified_version(target)
            move = self._move("rollback", target, version.release, champion, reason=reason)
            alias.carry_out(lease, entries, move)
        log_event(logger, "champion_rolled_back", version=target, release=version.release)
        return _present(champion_of(entries))

    def adopt(self, *, reason: str = "") -> ChampionRecord | None:
        """Accept what somebody made of the alias by hand, once its release is verified.

        Raises:
            PromotionError: if that version has no release of ours, or a damaged one.
        """
        alias = self._guarded()
        with self._lease() as lease:
            entries = alias.abandon_unfinished(lease)
            champion = champion_of(entries)
            version = alias.target()
            if version == (champion.version if champion else "") and alias.tag_fits(entries):
                return champion
            release = self._verified_version(version).release if version else ""
            move = self._move("adoption", version, release, champion, reason=reason)
            alias.carry_out(lease, entries, move)
        return champion_of(entries)

    def restore(self, *, reason: str = "") -> ChampionRecord | None:
        """Put the alias back to what the audit log says.

        Raises:
            PromotionError: if the registry has that version no more.
        """
        alias = self._guarded()
        with self._lease() as lease:
            entries = alias.abandon_unfinished(lease)
            champion = champion_of(entries)
            outside = alias.target()
            version, release = (champion.version, champion.release) if champion else ("", "")
            if version and self.models.version(version) is None:
                message = (
                    f"version {version} is gone from the registry, so the alias cannot be put "
                    "back: `worldloom registry adopt`, then promote again"
                )
                raise PromotionError(message)
            if outside == version and alias.tag_fits(entries):
                return champion
            found = self.models.version(outside) if outside else None
            move = Move(
                event="restoration",
                to_version=version,
                to_release=release,
                from_version=outside,
                from_release=found.release if found else "",
                actor=self.actor,
                reason=reason,
            )
            alias.carry_out(lease, entries, move)
        return champion_of(entries)

    def checked_champion(self) -> ChampionRecord | None:
        """Return the champion once the audit log and the registry agree on it; changes nothing.

        Raises:
            PromotionError: if they disagree, or a move was begun and not finished.
        """
        alias = self._guarded()
        entries = alias.entries()
        unfinished = unfinished_move(entries)
        if unfinished is not None:
            message = (
                f"a {unfinished.event} to version {unfinished.to_version} was begun and not "
                "finished: run it again, or `worldloom registry restore`"
            )
            raise PromotionError(message)
        alias.require_agreement(entries)
        return champion_of(entries)

    def _guarded(self) -> GuardedAlias:
        return GuardedAlias(self.store, self.models, self.model, self.alias, self.now)

    def _lease(self) -> Lease:
        return Lease(
            self.store,
            name=f"{self.model}/{self.alias}",
            actor=self.actor,
            ttl_seconds=self.lease_seconds,
            wait_seconds=self.lease_seconds + 5.0,
            now=self.now,
        )

    def _move(
        self,
        event: Event,
        version: str,
        release: str,
        champion: ChampionRecord | None,
        *,
        report: str = "",
        reason: str = "",
    ) -> Move:
        return Move(
            event=event,
            to_version=version,
            to_release=release,
            from_version=champion.version if champion else "",
            from_release=champion.release if champion else "",
            report=report,
            actor=self.actor,
            reason=reason,
        )

    def _refusal(self, reasons: tuple[str, ...]) -> Outcome:
        champion = champion_of(self._guarded().entries())
        log_event(logger, "promotion_refused", reasons=list(reasons))
        return _outcome("refused", champion, reasons)

    def _expect_incumbent(
        self, champion: ChampionRecord | None, verdict: Verdict, release: str
    ) -> None:
        present = champion.release if champion else ""
        if present != verdict.compared_with:
            message = (
                f"release {release} was compared with {verdict.compared_with or 'no champion'}, "
                f"but the champion is {present or 'none'} now: evaluate it again"
            )
            raise PromotionError(message)

    def _version_of(
        self, release: str, report: str, champion: ChampionRecord | None, commit: str
    ) -> ModelVersion:
        """Return the release's version, registered if this is the first time."""
        source = artifact_source(self.store, release)
        for version in self.models.versions():
            if version.release == release and version.source == source:
                return version
        tags = lineage_tags(self.store, release) | {
            RELEASE_TAG: release,
            "report_digest": report,
            "predecessor_release_digest": champion.release if champion else "",
            "git_sha": commit,
        }
        return self.models.create_version(source, tags)

    def _verified_version(self, version: str) -> ModelVersion:
        found = self.models.version(version)
        if found is None:
            message = f"version {version} of {self.model} does not exist in the registry"
            raise PromotionError(message)
        if not found.release or found.source != artifact_source(self.store, found.release):
            message = (
                f"version {version} of {self.model} has the source {found.source!r}, "
                f"expected a release in the store {self.store.uri}"
            )
            raise PromotionError(message)
        self._verify(found.release)
        return found

    def _verify(self, release: str) -> None:
        try:
            self.store.fetch(release, kind="release")
        except ArtifactError as error:
            message = f"this release may not become champion: {error}"
            raise PromotionError(message) from error


def _was_rolled_back(entries: list[AuditEntry], release: str, report: str) -> bool:
    """Tell whether a release was promoted on this report and taken back by a person."""
    promoted = [
        entry.index
        for entry in entries
        if entry.phase == "done"
        and entry.move.to_release == release
        and entry.move.report == report
    ]
    return bool(promoted) and any(
        entry.index > promoted[-1]
        and entry.phase == "done"
        and entry.move.event == "rollback"
        and entry.move.from_release == release
        for entry in entries
    )


def _outcome(
    decision: Decision, champion: ChampionRecord | None, reasons: tuple[str, ...]
) -> Outcome:
    return Outcome(
        decision=decision,
        reasons=reasons,
        version=champion.version if champion else "",
        release=champion.release if champion else "",
    )


def _present(champion: ChampionRecord | None) -> ChampionRecord:
    assert champion is not None, "a rollback leaves a champion"
    return champion
