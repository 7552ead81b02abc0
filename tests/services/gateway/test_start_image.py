"""A client's own start image."""

from __future__ import annotations

import base64
import struct
import zlib

import cv2
import numpy as np
import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.start_image import MAX_PIXELS, decode_image, fit_image, image_size
from services.protocol import MAX_IMAGE_BYTES


def encoded(image: np.ndarray, suffix: str) -> str:
    return base64.b64encode(cv2.imencode(suffix, image[..., ::-1])[1].tobytes()).decode()


def refused(text: str) -> ErrorCode:
    with pytest.raises(SessionError) as caught:
        decode_image(text)
    return caught.value.code


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_comes_out_as_it_went_in(suffix) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = 200  # red
    decoded = decode_image(encoded(image, suffix))
    assert decoded.shape == (20, 30, 3)
    assert np.abs(decoded.astype(int) - image).max() < 6


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    size = struct.pack(">II", 60_000, 60_000)
    chunk = b"IHDR" + size + b"\x08\x02\0\0\0"
    png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert refused(base64.b64encode(png).decode()) is ErrorCode.TOO_LARGE
    assert MAX_PIXELS < 60_000**2


def test_too_many_bytes_are_refused_before_they_are_decoded() -> None:
    assert refused("A" * (MAX_IMAGE_BYTES * 4 // 3 + 8)) is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x0b\x08\0\x10\0\x10" + bytes(40), b"GIF89a" + bytes(20),
     b"\x89PNG\r\n\x1a\n" + bytes(30), b"\xff\xd8" + b"\xff" * 50],
)  # fmt: skip
def test_what_is_no_picture_is_a_bad_image(data) -> None:
    assert refused(base64.b64encode(data).decode()) is ErrorCode.BAD_IMAGE


def test_what_is_no_base64_is_a_bad_image() -> None:
    assert refused("not base64!") is ErrorCode.BAD_IMAGE


def test_the_size_of_a_jpeg_is_found_behind_other_segments() -> None:
    image = np.zeros((24, 40, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    with_comment = jpeg[:2] + b"\xff\xfe\0\x06abcd" + jpeg[2:]
    assert image_size(with_comment) == (24, 40)


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (21, 21), (200, 100)])
def test_a_picture_is_cropped_in_its_middle_and_not_stretched(height, width) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[45:55, 45:55] = 255
    fitted = fit_image(image, height, width)
    assert fitted.shape == (height, width, 3)
    bright = np.argwhere(fitted[..., 0] > 100)
    middle = np.array([height - 1, width - 1]) / 2
    assert np.abs(bright.mean(0) - middle).max() < max(height, width) * 0.05 + 0.5
