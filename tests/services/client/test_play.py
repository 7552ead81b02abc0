from __future__ import annotations

import numpy as np
import pytest
from fake_gateway import FakeGateway, frame_data

from services.client import SessionError, play_actions_sync
from services.contract import ErrorCode

STILL = np.zeros((10, 6)), np.zeros((10, 2))


def test_a_walk_is_played_to_its_end_and_timed() -> None:
    with FakeGateway(drop_at={6}).serve_on_thread() as gateway:
        result = play_actions_sync(gateway.url, *STILL)
    told = [frame_data(k, [0.0] * 8) for k in range(1, 11)]
    assert result.pictures == (frame_data(0, None), *told)
    assert 0 < result.first_frame_seconds <= result.seconds
    assert result.frames_per_second == pytest.approx(10 / result.seconds)
    assert result.num_reconnects == 1
    assert result.ready.model_version == "3"


def test_a_refused_walk_raises_its_code() -> None:
    with FakeGateway(refuse_open=ErrorCode.BAD_TOKEN).serve_on_thread() as gateway:
        with pytest.raises(SessionError) as caught:
            play_actions_sync(gateway.url, *STILL)
        assert caught.value.code is ErrorCode.BAD_TOKEN
