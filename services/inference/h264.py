"""Frames to H.264: Annex B, one access unit a frame, no frame held back.

Every segment is encoded by an encoder of its own: it begins with a key frame behind its parameter
sets, so that a decoder can begin with any segment, and its bytes follow from its frames alone, so
that a resumed session sends what an undisturbed one would. Opening an encoder costs less than one
frame. Colours are BT.709, which the stream says. It does not know sessions.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext
from numpy import uint8
from numpy.typing import NDArray

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"]

_X264 = ":".join(
    [
        "repeat-headers=1",  # parameter sets stand before the key frame, not beside the stream
        "annexb=1",
        "keyint=infinite",
        "scenecut=0",
        "colorprim=bt709",
        "transfer=bt709",
        "colormatrix=bt709",
    ]
)


def is_size_possible(height: int, width: int) -> bool:
    """Tell whether frames of a size can be encoded: colours are kept for squares of 2 x 2."""
    return height % 2 == 0 and width % 2 == 0


def encode_h264(frames: NDArray[uint8], *, crf: int, preset: Preset) -> tuple[bytes, ...]:
    """Return an access unit for each of the RGB frames [F, H, W, 3], the first a key frame.

    Args:
        frames: at least one frame, of even height and width.
        crf: constant quality, 0 (lossless) to 51.
        preset: x264's trade of time for size.
    """
    context = _encoder(frames.shape[1], frames.shape[2], crf, preset)
    units = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts = number
        [unit] = context.encode(picture)
        units.append(bytes(unit))
    return tuple(units)


def _encoder(height: int, width: int, crf: int, preset: Preset) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext), "libx264 encodes video"
    context.height, context.width = height, width
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 16)  # only the order of frames matters
    context.thread_count = 1
    context.options = {
        "preset": preset,
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": str(crf),
        "x264-params": _X264,
    }
    return context
