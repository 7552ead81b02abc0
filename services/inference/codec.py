"""Frames to bytes: what leaves the model is encoded, raw frames never cross a process boundary.

JPEG's chroma is not subsampled, since small frames lose their colours by it. It knows no sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.contract import Encoding
from services.inference.engine_config import EngineConfig
from services.inference.h264 import encode_h264, is_size_possible


@dataclass(frozen=True)
class Codec:
    """Encodes the frames of segments as an engine is told to."""

    config: EngineConfig

    def encode(self, frames: NDArray[np.uint8], encoding: Encoding) -> tuple[bytes, ...]:
        """Return RGB frames [F, H, W, 3] of one segment, each encoded."""
        if encoding == "h264":
            return encode_h264(frames, crf=self.config.h264_crf, preset=self.config.h264_preset)
        return encode_frames(frames, self.config.jpeg_quality)


def encodings_for(height: int, width: int) -> tuple[Encoding, ...]:
    """Return how frames of a size can be encoded."""
    return ("jpeg", "h264") if is_size_possible(height, width) else ("jpeg",)


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
