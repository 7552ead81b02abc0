"""H.264 of segments, decoded by PyAV's decoder."""

from __future__ import annotations

import av
import numpy as np
import pytest

from services.inference.h264 import encode_h264, is_size_possible

KEY, PARAMETERS = 5, {7, 8}


def moving_picture(height: int, width: int, num_frames: int = 12) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack(
        [
            np.stack(
                [
                    (columns * 200 // width + 3 * frame) % 256,
                    rows * 200 // height,
                    np.full_like(rows, 40 + 5 * frame),
                ],
                axis=-1,
            )
            for frame in range(num_frames)
        ]
    ).astype(np.uint8)


def decode(units: list[bytes]) -> list[np.ndarray]:
    """Return the frames of access units, each of which must come out at once."""
    context = av.CodecContext.create("h264", "r")
    context.options = {"flags": "low_delay"}
    context.thread_count = 1
    frames = []
    for unit in units:
        frames += context.decode(av.Packet(unit))
        assert len(frames) <= len(units)
    frames += context.decode(None)
    return [frame.to_ndarray(format="rgb24", src_colorspace="ITU709") for frame in frames]


def kinds(unit: bytes) -> set[int]:
    """Return the types of an access unit's parts behind their start codes."""
    return {part[0] & 31 for part in unit.split(b"\0\0\1")[1:]}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (18, 10), (66, 38), (360, 640), (704, 1280)])
def test_decoded_frames_are_those_that_went_in(size) -> None:
    frames = moving_picture(*size, num_frames=4)
    units = encode_h264(frames, crf=20, preset="superfast")
    decoded = decode(list(units))
    assert len(units) == len(decoded) == 4
    for frame, other in zip(frames, decoded, strict=True):
        assert other.shape == frame.shape
        assert np.abs(frame.astype(int) - other).mean() < 6


def test_segment_begins_with_a_key_frame_and_its_parameters_and_has_no_other() -> None:
    first, *others = encode_h264(moving_picture(64, 64), crf=20, preset="superfast")
    assert first.startswith(b"\0\0\0\1")
    assert kinds(first) >= {KEY, *PARAMETERS}
    for unit in others:
        assert not kinds(unit) & {KEY, *PARAMETERS}


def test_decoder_can_begin_with_any_segment() -> None:
    later = moving_picture(64, 64, 24)[12:]
    decoded = decode(list(encode_h264(later, crf=20, preset="superfast")))
    assert np.abs(later.astype(int) - np.stack(decoded)).mean() < 6


def test_bytes_follow_from_the_frames_alone() -> None:
    frames = moving_picture(64, 64)
    assert encode_h264(frames, crf=20, preset="superfast") == encode_h264(
        frames, crf=20, preset="superfast"
    )


def test_worse_quality_is_smaller() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    sizes = [
        sum(map(len, encode_h264(frames, crf=crf, preset="superfast"))) for crf in (10, 30, 50)
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("size", "is_possible"), [((64, 64), True), ((63, 64), False), ((64, 63), False)]
)
def test_sizes_must_be_even(size, is_possible) -> None:
    assert is_size_possible(*size) is is_possible
