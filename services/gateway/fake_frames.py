"""Frames for an engine without a model: a pattern that moves as the keys say.

A frame is a function of where the camera stands and of nothing else, so the same actions give the
same bytes, also after a resume. D and a turn to the right let the picture slide to the left, A and
a turn to the left to the right, W down and S up, as a camera would. It does not know sessions.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

NUM_COLUMNS = 64  # places that the camera can turn to
NUM_ROWS = 16
_CACHED_FRAMES = 256
_COMMENT_BYTES = 60_000  # of one JPEG comment, which holds at most 65,533
_W, _S, _A, _D = range(4)
_YAW = 1


@dataclass(frozen=True)
class Place:
    """Where the camera stands, in steps of the pattern."""

    column: int = 0
    row: int = 0

    def moved(self, keyboard: NDArray[np.float32], mouse: NDArray[np.float32]) -> Place:
        """Return the place after one action, keyboard [6] and mouse [2]."""
        turn = int(np.sign(mouse[_YAW]))
        column = self.column + round(float(keyboard[_D] - keyboard[_A])) + turn
        row = self.row + round(float(keyboard[_W] - keyboard[_S]))
        return Place(column % NUM_COLUMNS, row % NUM_ROWS)


def draw_pattern(height: int, width: int) -> NDArray[np.uint8]:
    """Return an RGB picture [H, W, 3] that shows where it was moved: one bright bar, soft hills."""
    x = np.linspace(0.0, 2.0 * np.pi, width, endpoint=False)
    y = np.linspace(0.0, 2.0 * np.pi, height, endpoint=False)
    waves = [np.sin(2 * x), np.sin(x + 2.0), np.cos(3 * x)]
    picture = np.stack([70 + 25 * wave + 20 * np.cos(y)[:, None] for wave in waves], axis=-1)
    bar = slice(width // 2 - width // 64, width // 2 + width // 64)
    picture[:, bar] = (250, 240, 200)
    drawn: NDArray[np.uint8] = picture.astype(np.uint8)
    return drawn


class PatternCamera:
    """Encodes one picture as seen from the places of the pattern."""

    def __init__(self, picture: NDArray[np.uint8], frame_bytes: int) -> None:
        """Take the picture [H, W, 3]; each JPEG is filled up to at least `frame_bytes`."""
        self._picture = picture
        self._frame_bytes = frame_bytes
        self._num_cached = _CACHED_FRAMES
        self._jpegs: OrderedDict[Place, bytes] = OrderedDict()

    def draw_ahead(self) -> None:
        """Draw what is seen from every place, and keep it."""
        self._num_cached = NUM_COLUMNS * NUM_ROWS
        for column in range(NUM_COLUMNS):
            for row in range(NUM_ROWS):
                self.jpeg(Place(column, row))

    def jpeg(self, place: Place) -> bytes:
        """Return the frame that is seen from a place."""
        known = self._jpegs.get(place)
        if known is not None:
            self._jpegs.move_to_end(place)
            return known
        height, width = self._picture.shape[:2]
        shift = (place.row * height // NUM_ROWS, -place.column * width // NUM_COLUMNS)
        seen = np.roll(self._picture, shift, axis=(0, 1))
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(seen[..., ::-1]))
        jpeg = _fill(encoded.tobytes(), self._frame_bytes)
        self._jpegs[place] = jpeg
        if len(self._jpegs) > self._num_cached:
            self._jpegs.popitem(last=False)
        return jpeg


def _fill(jpeg: bytes, num_bytes: int) -> bytes:
    """Return the JPEG with comments after its first marker, so that it has this size."""
    missing = num_bytes - len(jpeg)
    comments = []
    while missing > 4:
        size = min(missing - 4, _COMMENT_BYTES)
        comments.append(b"\xff\xfe" + (size + 2).to_bytes(2, "big") + bytes(size))
        missing -= size + 4
    return jpeg[:2] + b"".join(comments) + jpeg[2:]
