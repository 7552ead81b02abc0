"""Frames survive their encoding."""

from __future__ import annotations

import numpy as np

from services.client.decode import decode_frames
from services.inference.codec import encode_frames


def test_frames_keep_their_colours_and_order() -> None:
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[..., index] = ramp
    decoded = decode_frames(encode_frames(frames, 95))
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 2.0


def test_single_red_column_is_not_smeared() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:, 16, 0] = 255
    (decoded,) = decode_frames(encode_frames([frame], 95))
    assert decoded[:, 16, 0].mean() > 230
    assert decoded[:, 18, 0].mean() < 25
