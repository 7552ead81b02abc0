"""Who is champion, read from the audit log alone: no MLflow, no server.

It does not know how the champion is moved.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from services.registry.audit import AuditEntry, AuditLog, last_done
from worldloom.config import Config
from worldloom.store.protocol import ArtifactStore

DEFAULT_MODEL = "worldloom"
DEFAULT_ALIAS = "champion"


class ChampionRecord(Config):
    """The release that is served, and the one that it replaced."""

    model: str = Field(description="name of the registered model")
    version: str = Field(description="version in the registry")
    release: str = Field(description="digest of the release")
    report: str = Field(description="digest of the report that allowed it, empty if adopted")
    predecessor_version: str = Field(description="version it replaced, empty for the first")
    predecessor_release: str = Field(description="digest of the release it replaced, or empty")
    since: str = Field(description="UTC time at which it became champion, ISO 8601")
    audit_index: int = Field(description="entry of the audit log that made it champion")
    audit_hash: str = Field(description="hash of that entry")


def current_champion(
    store: ArtifactStore, model_name: str = DEFAULT_MODEL
) -> ChampionRecord | None:
    """Return the champion that the audit log names, None while there is none.

    Raises:
        PromotionError: when the log was tampered with.
    """
    return champion_of(AuditLog(store, model_name).entries())


def champion_of(entries: Sequence[AuditEntry]) -> ChampionRecord | None:
    """Return the champion after these entries."""
    made = last_done(entries)
    if made is None or not made.move.to_version:
        return None
    origin = _origin(entries, made.move.to_version) or made
    return ChampionRecord(
        model=made.model,
        version=made.move.to_version,
        release=made.move.to_release,
        report=origin.move.report,
        predecessor_version=origin.move.from_version,
        predecessor_release=origin.move.from_release,
        since=made.time,
        audit_index=made.index,
        audit_hash=made.hash,
    )


def has_been_champion(entries: Sequence[AuditEntry], version: str) -> bool:
    """Tell whether the log ever made this version champion."""
    return _origin(entries, version) is not None


def _origin(entries: Sequence[AuditEntry], version: str) -> AuditEntry | None:
    """Return how a version became champion first-hand: not by going back to it."""
    events = ("promotion", "adoption")
    return next(
        (
            entry
            for entry in reversed(entries)
            if entry.phase == "done"
            and entry.move.to_version == version
            and entry.move.event in events
        ),
        None,
    )
