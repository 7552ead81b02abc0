"""Recorded walks: actions played on a server, frames kept as a video.

Here the client's errors become the project's. It does not know how a server is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from services.client import DEFAULT_OPTIONS, SessionOptions
from services.client import grpc as straight
from services.client.decode import decode_frames
from services.client.play import PlayResult, play_actions_sync
from services.contract import SessionError
from worldloom.actions import Actions
from worldloom.errors import DataError, ServingError

VIDEO_FRAMES_PER_SECOND = 16.0


class Walk(Protocol):
    """What is left of a played session, however it was played."""

    @property
    def pictures(self) -> Sequence[bytes]:
        """Every JPEG, the start image first."""


def play_walk(
    address: str, actions: Actions, options: straight.SessionOptions = straight.DEFAULT_OPTIONS
) -> straight.PlayResult:
    """Play actions straight on a server; action k makes frame k+1, frame 0 is the start image.

    Raises:
        ServingError: when the server refuses, ends the session early or is dead.
    """
    with serving_errors():
        return straight.play_actions(address, actions.keyboard, actions.mouse, options)


def play_walk_through_gateway(
    url: str, actions: Actions, options: SessionOptions = DEFAULT_OPTIONS, *, api_key: str | None
) -> PlayResult:
    """Play actions through a gateway; a connection that breaks is resumed.

    Raises:
        ServingError: when the gateway refuses or the session cannot be brought to its end.
    """
    with serving_errors():
        return play_actions_sync(
            url, actions.keyboard, actions.mouse, api_key=api_key, options=options
        )


def walk_frames(walk: Walk) -> NDArray[np.uint8]:
    """Return a walk's frames [1 + F, H, W, 3], the start image first."""
    return decode_frames(walk.pictures)


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    frames_per_second: float = VIDEO_FRAMES_PER_SECOND,
) -> None:
    """Write RGB frames [F, H, W, 3] as an H.264 video; the file appears whole or not at all.

    Raises:
        DataError: when the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(partial, frames, frames_per_second)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, av.error.FFmpegError) as error:
        message = f"video {path} cannot be written: {error.strerror}"
        raise DataError(message) from error


@contextmanager
def serving_errors() -> Iterator[None]:
    """Turn the client's `SessionError` into `ServingError`."""
    try:
        yield
    except SessionError as error:
        message = f"{error.message} [{error.code}]"
        raise ServingError(message) from error


def _encode(path: Path, frames: NDArray[np.uint8], frames_per_second: float) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        rate = Fraction(frames_per_second).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "16"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
