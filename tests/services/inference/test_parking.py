"""Which parked sessions are forgotten first, and when."""

from __future__ import annotations

import numpy as np
import pytest

from services.inference.engine_config import EngineConfig
from services.inference.live_session import LiveSession
from services.inference.parking import Parking
from services.inference.session_record import SessionRecord
from services.inference.world_state import WorldState


def session(name: str, num_bytes: int = 0) -> LiveSession:
    record = SessionRecord(
        session_id=name, release="", world="", prompt="", seed=0, enable_memory=True,
        pitch_radians=0.0, is_resumable=True, opened_at_ms=0,
    )  # fmt: skip
    return LiveSession(
        record=record,
        encoding="jpeg",
        sink=None,
        frames_per_segment=12,
        opened_at=0.0,
        last_heard=0.0,
        playout_end=0.0,
        state=WorldState(0, 1, {"latents": np.zeros((1, num_bytes), np.uint8)}),
    )


@pytest.mark.parametrize(
    ("limits", "now", "kept"),
    [
        ({}, 2.0, ["a", "b", "c"]),
        ({"max_parked_sessions": 2}, 2.0, ["b", "c"]),
        ({"max_parked_seconds": 1.5}, 2.0, ["b", "c"]),
        ({"max_parked_bytes": 25}, 2.0, ["b", "c"]),
        ({"max_parked_sessions": 0}, 2.0, []),
    ],
)
def test_longest_parked_goes_first(limits, now, kept) -> None:
    parking = Parking(EngineConfig(**limits))
    for at, name in enumerate("abc"):
        parking.add(session(name, 10), float(at))
    dropped = parking.drop_excess(now)
    assert [left.session_id for left in parking] == kept
    assert [gone.session_id for gone in dropped] == [name for name in "abc" if name not in kept]


def test_session_that_was_taken_waits_no_longer() -> None:
    parking = Parking(EngineConfig())
    parking.add(session("a"), 0.0)
    assert "a" in parking
    parking.take("a")
    assert (len(parking), parking.get("a")) == (0, None)
