"""The verbs that need no server: the audit log is enough."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.main import run_command
from services.registry.audit import AuditEntry, AuditLog, Move
from worldloom.store import FolderStore


@dataclass
class Written:
    store: FolderStore
    release: str
    entries: list[AuditEntry] = field(default_factory=list)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setenv("WORLDLOOM_STORE", str(tmp_path / "store"))
    store = FolderStore(tmp_path / "store")
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "weights.bin").write_text("w")
    release = store.put(folder, kind="release", config={}, parents={})
    move = Move(
        event="promotion",
        to_version="1",
        to_release=release,
        from_version="",
        from_release="",
        actor="tester",
    )
    result = Written(store, release)
    for phase in ("begun", "done"):
        entry = AuditLog(store, "worldloom").append(
            result.entries,
            phase=phase,
            move=move,
            alias="champion",
            lease_token=1,
            time="2026-01-01T00:00:00+00:00",
        )
        result.entries.append(entry)
    return result


def test_the_champion_is_told_without_a_server(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["registry", "champion", "-o", "json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["release"] == written.release
    assert "worldloom registry show 1" in told.err


def test_a_version_is_shown_with_what_it_came_from(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["registry", "show", "1", "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["digest"]) for row in rows] == [("release", written.release)]


def test_the_audit_is_printed_and_tampering_exits_with_7(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["registry", "audit"]) == 0
    assert "2 entries" in capsys.readouterr().out
    path = written.store.root / "records/audit/worldloom/00000001.json"
    path.write_text(path.read_text().replace("tester", "nobody"))
    assert run_command(["registry", "audit"]) == 7
    assert "entry 1 does not have the hash" in capsys.readouterr().err


def test_a_dead_server_exits_with_6(
    written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert run_command(["registry", "list"]) == 6
    assert "does not answer" in capsys.readouterr().err
