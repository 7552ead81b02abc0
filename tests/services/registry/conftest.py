"""A real store in a folder, artifacts to promote, a registry that keeps versions in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.registry.models import ModelVersion
from services.registry.promotion import Guard
from worldloom.store import FolderStore


@dataclass
class FakeModels:
    """A registry as lax as MLflow: no compare-and-set, any source, any alias."""

    made: list[ModelVersion] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    before_alias: Callable[[], None] = lambda: None

    def versions(self) -> list[ModelVersion]:
        return list(self.made)

    def version(self, version: str) -> ModelVersion | None:
        return next((made for made in self.made if made.version == version), None)

    def create_version(self, source: str, tags: Mapping[str, str]) -> ModelVersion:
        self.made.append(ModelVersion(str(len(self.made) + 1), source, dict(tags)))
        return self.made[-1]

    def alias(self, alias: str) -> str:
        return self.aliases.get(alias, "")

    def set_alias(self, alias: str, version: str) -> None:
        self.before_alias()
        self.aliases[alias] = version

    def tag(self, name: str) -> str:
        return self.tags.get(name, "")

    def set_tag(self, name: str, value: str) -> None:
        self.tags[name] = value


class Workshop:
    """Makes releases and reports in a store."""

    def __init__(self, root: Path, store: FolderStore) -> None:
        self.root = root
        self.store = store

    def artifact(self, kind: str, content: str, parents: Mapping[str, str], name: str) -> str:
        folder = self.root / "work" / f"{kind}-{abs(hash((content, tuple(parents.items()))))}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return self.store.put(folder, kind=kind, config={}, parents=parents)  # type: ignore[arg-type]

    def release(self, content: str) -> str:
        clips = self.artifact("clips", f"clips of {content}", {}, "clips.bin")
        student = self.artifact("student-checkpoint", content, {"clips": clips}, "student.bin")
        return self.artifact("release", content, {"student": student, "clips": clips}, "w.bin")

    def report(self, release: str, champion: str = "", verdict: str = "pass") -> str:
        value = {"verdict": verdict, "reasons": [f"a bar was {verdict}"], "metrics": {"psnr_db": 1}}
        parents = {"release": release} | ({"champion": champion} if champion else {})
        return self.artifact("evaluation-report", json.dumps(value), parents, "report.json")

    def damage(self, digest: str) -> None:
        path = next(p for p in self.store.folder_of(digest).iterdir() if p.suffix == ".bin")
        path.chmod(0o644)
        path.write_bytes(b"flipped")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def workshop(tmp_path: Path, store: FolderStore) -> Workshop:
    return Workshop(tmp_path, store)


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


@pytest.fixture
def guard(store: FolderStore, models: FakeModels) -> Guard:
    return Guard(store=store, models=models, actor="tester", lease_seconds=5.0)
