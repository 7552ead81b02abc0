"""Walks become videos."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from services.contract import ErrorCode, SessionError
from services.recording import serving_errors, write_video
from worldloom.errors import DataError, ServingError


def test_video_has_every_frame(tmp_path: Path) -> None:
    frames = np.zeros((20, 32, 48, 3), np.uint8)
    frames[10:] = 200
    write_video(tmp_path / "deep" / "walk.mp4", frames, frames_per_second=10)
    with av.open(str(tmp_path / "deep" / "walk.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 10.0)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 20
    assert decoded[0].mean() < 20
    assert decoded[19].mean() > 180
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["walk.mp4"]


def test_video_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"walk\.mp4 cannot be written"):
        write_video(tmp_path / "file" / "walk.mp4", np.zeros((1, 32, 32, 3), np.uint8))


def test_client_errors_become_serving_errors() -> None:
    with (
        pytest.raises(ServingError, match=r"all slots are in use \[no_free_slot\]"),
        serving_errors(),
    ):
        raise SessionError(ErrorCode.NO_FREE_SLOT, "all slots are in use")
