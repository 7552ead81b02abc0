"""JPEG frames to pixels; the only module of the client that needs OpenCV."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray


def decode_jpeg(jpeg: bytes) -> NDArray[np.uint8]:
    """Return the RGB frame [H, W, 3] of a JPEG."""
    # OpenCV's stubs do not say that it returns None for what it cannot read.
    image: NDArray[np.generic] | None = cv2.imdecode(
        np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR
    )
    if image is None:
        message = f"{len(jpeg)} bytes that are no JPEG, expected an encoded frame"
        raise ValueError(message)
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def decode_frames(jpegs: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return the RGB frames [F, H, W, 3] of JPEGs."""
    return np.stack([decode_jpeg(jpeg) for jpeg in jpegs])
