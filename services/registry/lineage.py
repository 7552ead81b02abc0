"""What a release came from: its ancestors by digest, and the runs that made them.

Parents are read from the artifacts' manifests, runs from the records of finished steps. It does
not know the registry.
"""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config, JsonValue
from worldloom.errors import ArtifactError
from worldloom.store.protocol import ArtifactStore


class Ancestor(Config):
    """One artifact in the history of another."""

    digest: str = Field(description="digest of the artifact")
    kind: str = Field(description="what it is, empty if the store has it no more")
    role: str = Field(description="what it was to the artifact that names it as a parent")
    depth: int = Field(description="steps back from the artifact asked for, which has 0")
    parents: dict[str, str] = Field(description="digest of each of its own inputs by role")
    step: str = Field(default="", description="step that made it")
    run: str = Field(default="", description="MLflow run in which it was made")
    commit: str = Field(default="", description="commit of the sources that made it")


def ancestry(store: ArtifactStore, digest: str) -> list[Ancestor]:
    """Return an artifact and all it came from, nearest first, each once."""
    makers = _makers(store)
    found: dict[str, Ancestor] = {}
    level = [("", digest)]
    depth = 0
    while level:
        following: list[tuple[str, str]] = []
        for role, current in level:
            if current in found:
                continue
            kind, parents = _manifest_of(store, current)
            maker = makers.get(current, {})
            found[current] = Ancestor(
                digest=current, kind=kind, role=role, depth=depth, parents=parents, **maker
            )
            following += [(name, parent) for name, parent in sorted(parents.items()) if parent]
        level = following
        depth += 1
    return list(found.values())


def lineage_tags(store: ArtifactStore, release: str) -> dict[str, str]:
    """Return a tag `<kind>_digest` for each ancestor of a release, nearest of its kind first."""
    tags: dict[str, str] = {}
    for ancestor in ancestry(store, release)[1:]:
        if ancestor.kind:
            tags.setdefault(f"{ancestor.kind.replace('-', '_')}_digest", ancestor.digest)
    return tags


def _manifest_of(store: ArtifactStore, digest: str) -> tuple[str, dict[str, str]]:
    try:
        manifest = store.manifest(digest)
    except ArtifactError:  # cleaned away: the digest alone is still worth showing
        return "", {}
    return manifest.kind, dict(manifest.parents)


def _makers(store: ArtifactStore) -> dict[str, dict[str, str]]:
    makers: dict[str, dict[str, str]] = {}
    for name in store.list_records("steps/"):
        record = store.get_record(name) or {}
        provenance = _mapping(record.get("provenance"))
        maker = {
            "step": str(record.get("step", "")),
            "run": str(provenance.get("tracking_run_id") or ""),
            "commit": str(provenance.get("commit") or ""),
        }
        for digest in _mapping(record.get("outputs")).values():
            makers[str(digest)] = maker
    return makers


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}
