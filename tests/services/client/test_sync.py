"""The face without asyncio keeps the same promises, and leaves no thread behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fake_gateway import FakeGateway, frame_data

from services.client import SessionError, SessionState, Timeouts, connect_sync
from services.contract import ErrorCode

QUICK = Timeouts(reply_seconds=5, open_seconds=5, frame_seconds=5, reconnect_seconds=5)
STILL = [0.0] * 8


def test_a_walk_over_a_breaking_connection_ends_with_every_frame() -> None:
    before = threading.active_count()
    with FakeGateway(drop_at={3, 9}).serve_on_thread() as gateway:
        with connect_sync(gateway.url, timeouts=QUICK) as session:
            receipt = session.act(np.zeros((12, 6)), np.zeros((12, 2)))
            session.finish()
            frames = [frame.data for frame in session.frames()]
            receipt.received()
            assert receipt.applied() == 1
        assert session.num_reconnects == 2
        assert session.state is SessionState.ENDED
    assert frames == [frame_data(0, None), *(frame_data(k, STILL) for k in range(1, 13))]
    assert threading.active_count() == before


def test_pause_snapshot_and_ping_answer() -> None:
    with (
        FakeGateway().serve_on_thread() as gateway,
        connect_sync(gateway.url, timeouts=QUICK) as session,
    ):
        session.pause()
        assert session.state is SessionState.PAUSED
        session.unpause()
        assert session.snapshot() == 0
        assert session.ping() < 5


def test_a_refused_session_raises_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with FakeGateway(refuse_open=ErrorCode.QUOTA_EXCEEDED).serve_on_thread() as gateway:
        with pytest.raises(SessionError) as caught, connect_sync(gateway.url, timeouts=QUICK):
            pass
        assert caught.value.code is ErrorCode.QUOTA_EXCEEDED
    assert threading.active_count() == before
