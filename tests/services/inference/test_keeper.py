"""The keeper's thread: in order, told when done, and never ended by a fault."""

from __future__ import annotations

import threading

from services.inference.keeper import Keeper, Lost
from services.inference.session_record import SessionRecord
from services.inference.session_store import FolderSessionStore
from services.inference.stored_part import Progress, StoredPart
from services.inference.world_state import WorldState


def part(session_id: str = "a") -> StoredPart:
    record = SessionRecord(
        session_id=session_id, release="", world="w", prompt="p", seed=3, enable_memory=True,
        pitch_radians=0.0, is_resumable=True, opened_at_ms=0,
    )  # fmt: skip
    progress = Progress(num_frames=0, is_finishing=False, is_paused=False)
    return StoredPart(record, progress, WorldState(0, 0, {}))


def test_jobs_are_done_in_order_on_another_thread(tmp_path) -> None:
    keeper = Keeper(FolderSessionStore(tmp_path), max_stored_seconds=1e6, on_failure=lambda: None)
    told: list[object] = []
    keeper.start()
    keeper.save(part(), lambda failure: told.append((failure, threading.current_thread().name)))
    keeper.fetch("a", told.append)
    keeper.forget("a")
    keeper.fetch("a", told.append)
    keeper.stop()
    saved, found, gone = told
    assert saved == ("", "worldloom-keeper")
    assert isinstance(found, Lost)  # a part without units is no session
    assert gone is None


def test_fault_in_a_job_ends_no_thread_and_is_counted(tmp_path) -> None:
    failures: list[int] = []
    keeper = Keeper(
        FolderSessionStore(tmp_path),
        max_stored_seconds=1e6,
        on_failure=lambda: failures.append(1),
    )

    def stumble(failure: str) -> None:
        message = f"the one who asked stumbles over {failure!r}"
        raise RuntimeError(message)

    told: list[str] = []
    keeper.start()
    keeper.save(part(), stumble)
    keeper.save(part("b"), told.append)
    keeper.stop()
    assert told == [""]
    assert len(failures) == 1


def test_keeper_without_a_store_starts_no_thread() -> None:
    before = threading.active_count()
    keeper = Keeper(None, max_stored_seconds=1.0, on_failure=lambda: None)
    keeper.start()
    assert threading.active_count() == before
    keeper.forget("a")
    keeper.stop()
