"""The audit chain: what was changed, removed or forged is named."""

from __future__ import annotations

import json

import pytest

from services.registry.audit import AuditLog, Move, unfinished_move
from worldloom.errors import PromotionError


def write_moves(store, count: int) -> AuditLog:
    log = AuditLog(store, "worldloom")
    entries = []
    for number in range(count):
        move = Move(
            event="promotion",
            to_version=str(number + 1),
            to_release="r",
            from_version=str(number),
            from_release="q",
            actor="tester",
        )
        for phase in ("begun", "done"):
            written = log.append(
                entries,
                phase=phase,
                move=move,
                alias="champion",
                lease_token=1,
                time="2026-01-01T00:00:00",
            )
            entries.append(written)
    return log


def path_of(store, index: int):
    return store.root / f"records/audit/worldloom/{index:08d}.json"


def test_a_log_is_read_back_as_it_was_written(store) -> None:
    entries = write_moves(store, 2).entries()
    assert [entry.index for entry in entries] == [1, 2, 3, 4]
    assert entries[1].previous == entries[0].hash
    assert unfinished_move(entries) is None
    assert unfinished_move(entries[:3]) == entries[2].move


def test_a_changed_entry_is_named(store) -> None:
    log = write_moves(store, 2)
    path = path_of(store, 2)
    value = json.loads(path.read_text())
    value["move"]["to_version"] = "7"
    path.write_text(json.dumps(value))
    with pytest.raises(PromotionError, match="entry 2 does not have the hash it states"):
        log.entries()


def test_a_removed_entry_is_named(store) -> None:
    log = write_moves(store, 2)
    path_of(store, 2).unlink()
    with pytest.raises(PromotionError, match="entry 2 is missing"):
        log.entries()


def test_a_rewritten_entry_breaks_the_chain_after_it(store, tmp_path) -> None:
    log = write_moves(store, 2)
    path = path_of(store, 2)
    path.unlink()
    first = log._read("audit/worldloom/00000001.json")
    log.append([first], phase="done", move=first.move, alias="champion", lease_token=9, time="x")
    with pytest.raises(PromotionError, match="entry 3 does not follow entry 2"):
        log.entries()


def test_an_entry_that_is_no_entry_is_named(store) -> None:
    log = write_moves(store, 1)
    path_of(store, 1).write_text("{}")
    with pytest.raises(PromotionError, match=r"tampered with: audit/worldloom/00000001.json"):
        log.entries()


def test_only_the_first_writer_of_an_entry_succeeds(store) -> None:
    log = write_moves(store, 1)
    entries = log.entries()
    arguments = {"phase": "begun", "move": entries[0].move, "alias": "champion", "lease_token": 2}
    log.append(entries, time="a", **arguments)
    with pytest.raises(PromotionError, match="entry 3 was written by somebody else"):
        log.append(entries, time="b", **arguments)
