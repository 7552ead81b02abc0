"""Frames to JPEG: what leaves the model is encoded, raw frames never cross a process boundary.

Chroma is not subsampled, since small frames lose their colours by it. It knows no sessions.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Return the JPEG of an RGB frame [H, W, 3]."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    is_encoded, buffer = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), options)
    if not is_encoded:
        message = f"frame of shape {list(frame.shape)} cannot be encoded as JPEG"
        raise ValueError(message)
    return buffer.tobytes()


def encode_frames(frames: Iterable[NDArray[np.uint8]], quality: int) -> tuple[bytes, ...]:
    """Return the JPEGs of RGB frames."""
    return tuple(encode_jpeg(frame, quality) for frame in frames)
