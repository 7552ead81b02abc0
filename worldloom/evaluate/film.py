"""Films and contact sheets: produced frames beside recorded ones.

MP4 by PyAV with one thread and without assembly, so that the same frames give the same bytes. It
does not know what the frames show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from worldloom.errors import DataError
from worldloom.evaluate.video_quality import Frames

FRAMES_PER_SECOND = 16
_LABEL_PIXELS = 22
_GAP_PIXELS = 6
_PAPER = 24
_INK = (235, 235, 235)
# x264's assembly gives other bytes from call to call; its C code does not.
_ENCODER = {"preset": "veryfast", "x264-params": "asm=0"}
_FINE_CRF = 20


def write_mp4(
    path: Path,
    frames: Frames,
    *,
    frames_per_second: int = FRAMES_PER_SECOND,
    crf: int = _FINE_CRF,
) -> None:
    """Write frames uint8 [F, H, W, 3] as H.264 that browsers play.

    `crf` is x264's: 6 more, and a film is about half as large.

    Raises:
        DataError: for no frames, or frames of another kind.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        message = f"film: {frames.dtype} {list(frames.shape)}, expected uint8 [F, H, W, 3]"
        raise DataError(message)
    height, width = (size + size % 2 for size in frames.shape[1:3])
    padding = ((0, 0), (0, height - frames.shape[1]), (0, width - frames.shape[2]), (0, 0))
    padded = np.pad(frames, padding, mode="edge")
    options = {"crf": str(crf), **_ENCODER}
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def enlarge(frames: Frames, factor: int) -> Frames:
    """Return frames with every pixel `factor` times as wide and high."""
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def side_by_side(films: Sequence[Frames], labels: Sequence[str], *, factor: int = 4) -> Frames:
    """Return one film with several of equal length next to each other under their labels."""
    pairs = zip(films, labels, strict=True)
    panels = [_labelled(enlarge(film, factor), label) for film, label in pairs]
    gap = np.full((*panels[0].shape[:2], _GAP_PIXELS, 3), _PAPER, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(parts, axis=2)


def contact_sheet(
    rows: Sequence[tuple[str, Frames]], *, columns: int = 9, factor: int = 2
) -> Frames:
    """Return one picture [H, W, 3]: a labelled row for each film, frames at even times."""
    if not rows:
        message = "contact sheet: no films, expected at least one"
        raise DataError(message)
    strips = []
    for label, film in rows:
        chosen = np.linspace(0, len(film) - 1, columns).round().astype(int)
        cells = enlarge(film[chosen], factor)
        gap = np.full((len(cells), cells.shape[1], _GAP_PIXELS // 3, 3), _PAPER, np.uint8)
        strip = np.concatenate(list(np.concatenate([cells, gap], axis=2)), axis=1)
        strips.append(_labelled(strip[None], label)[0])
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=_PAPER) for s in strips
    ]
    return np.concatenate(padded, axis=0)


def write_png(path: Path, picture: Frames) -> None:
    """Write a picture uint8 [H, W, 3]."""
    path.write_bytes(png_bytes(picture))


def png_bytes(picture: Frames) -> bytes:
    """Return the PNG of a picture uint8 [H, W, 3]."""
    is_encoded, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert is_encoded, "a picture in memory always encodes"
    return data.tobytes()


def _labelled(frames: Frames, label: str) -> Frames:
    """Return frames [F, H, W, 3] under a bar that carries a label."""
    bar = np.full((_LABEL_PIXELS, frames.shape[2], 3), _PAPER, np.uint8)
    cv2.putText(
        bar, label, (6, _LABEL_PIXELS - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA
    )
    stacked = np.broadcast_to(bar, (len(frames), *bar.shape))
    return np.concatenate([stacked, frames], axis=1)
