"""A client's own start image: base64 of a JPEG or PNG, checked before it is decoded, made to fit.

Its size is read from its header first, so that a small file cannot ask for gigabytes of pixels.
It does not know who sent it.
"""

from __future__ import annotations

import base64
import binascii
import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from services.contract import ErrorCode, SessionError
from services.protocol import MAX_IMAGE_BYTES

MAX_PIXELS = 16_000_000
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
# Frame headers SOF0 to SOF15 without DHT, JPG and DAC, which share the range.
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


def decode_image(text: str) -> NDArray[np.uint8]:
    """Return the RGB image [H, W, 3] of a client.

    Raises:
        SessionError: `too_large` or `bad_image`.
    """
    if len(text) > (MAX_IMAGE_BYTES + 2) // 3 * 4:
        sentence = f"the start image has more than {MAX_IMAGE_BYTES} bytes"
        raise SessionError(ErrorCode.TOO_LARGE, sentence)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SessionError(ErrorCode.BAD_IMAGE, "the start image is no base64") from error
    height, width = image_size(data)
    if height * width > MAX_PIXELS:
        sentence = f"the start image has {width} x {height} pixels, at most {MAX_PIXELS} are taken"
        raise SessionError(ErrorCode.TOO_LARGE, sentence)
    try:
        # OpenCV's stubs do not say that it returns None for what it cannot read.
        decoded: NDArray[np.generic] | None = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR
        )
    except cv2.error as error:
        raise _unreadable(data) from error
    if decoded is None:
        raise _unreadable(data)
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def image_size(data: bytes) -> tuple[int, int]:
    """Return height and width as the header of a JPEG or PNG says; raises `bad_image`."""
    size = None
    if data.startswith(_PNG_START) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        size = (height, width)
    elif data.startswith(_JPEG_START):
        size = _jpeg_size(data)
    if size is None or 0 in size:
        raise _unreadable(data)
    return size


def fit_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the middle of an image in another size, cropped to its shape, not stretched."""
    old_height, old_width = image.shape[:2]
    scale = max(height / old_height, width / old_width)
    crop_height = min(old_height, max(1, round(height / scale)))
    crop_width = min(old_width, max(1, round(width / scale)))
    top, left = (old_height - crop_height) // 2, (old_width - crop_width) // 2
    middle = image[top : top + crop_height, left : left + crop_width]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(middle, (width, height), interpolation=how), np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _JPEG_ALONE_MARKERS:
            position += 2
        elif marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _unreadable(data: bytes) -> SessionError:
    sentence = f"{len(data)} bytes that are no JPEG or PNG which can be read, expected one"
    return SessionError(ErrorCode.BAD_IMAGE, sentence)
