"""Frame arithmetic: 4n+1, which latent holds a frame, and where segments lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise

import pytest

from worldloom import frames


@pytest.mark.parametrize(("num_frames", "latents"), [(1, 1), (5, 2), (13, 4), (57, 15)])
def test_frames_and_latents_are_each_others_inverse(num_frames: int, latents: int) -> None:
    assert frames.num_latent_frames(num_frames) == latents
    assert frames.num_pixel_frames(latents) == num_frames


@pytest.mark.parametrize("num_frames", [-3, 0, 2, 3, 4, 56])
def test_a_length_that_is_not_4n_plus_1_is_refused(num_frames: int) -> None:
    with pytest.raises(ValueError, match=rf"num_frames={num_frames}: expected 4n\+1 frames"):
        frames.num_latent_frames(num_frames)


@pytest.mark.parametrize("latents", [0, -1])
def test_no_latents_are_refused(latents: int) -> None:
    with pytest.raises(ValueError, match=f"latent_frames={latents}: expected at least 1"):
        frames.num_pixel_frames(latents)


def test_the_first_latent_holds_one_frame_and_each_other_four() -> None:
    held = [frames.latent_of_frame(index) for index in range(13)]
    assert held == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_each_latent_ends_with_its_last_frame() -> None:
    for latent in range(20):
        last = frames.last_frame_of_latent(latent)
        assert frames.latent_of_frame(last) == latent
        assert frames.latent_of_frame(last + 1) == latent + 1


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [(0, 1, range(1)), (0, 4, range(13)), (1, 1, range(1, 5)), (4, 3, range(13, 25))],
)
def test_the_frames_of_latents_are_the_frames_that_they_hold(
    start: int, count: int, expected: range
) -> None:
    found = frames.frames_of_latents(start, count)
    assert found == expected
    assert {frames.latent_of_frame(index) for index in found} == set(range(start, start + count))


@pytest.mark.parametrize(("length", "longest"), [(1, 1), (4, 1), (5, 5), (8, 5), (240, 237)])
def test_the_longest_causal_length_fits(length: int, longest: int) -> None:
    assert frames.longest_causal_length(length) == longest


def test_the_references_windows_are_whole_latents() -> None:
    first = frames.num_latent_frames(frames.REFERENCE_FIRST_FRAMES)
    stride = frames.TEMPORAL_STRIDE
    window, new = frames.REFERENCE_WINDOW_FRAMES, frames.REFERENCE_NEW_FRAMES
    assert (frames.REFERENCE_FIRST_FRAMES, window, new) == (57, 56, 40)
    assert (first, window // stride, new // stride) == (15, 14, 10)
    # The second window begins 4 latents before the end of the first segment.
    assert frames.frames_of_latents(first - 4, window // stride) == range(41, 41 + window)
    assert frames.frames_of_latents(first, new // stride) == range(57, 57 + new)


def test_the_references_first_segment_is_the_image_and_fourteen_latents() -> None:
    assert frames.reference_segment(0) == frames.SegmentFrames(
        segment_index=0,
        start_frame=0,
        end_frame=57,
        first_latent=0,
        last_latent=14,
        num_new_frames=57,
        memory_query_frames=(),
        action_slice_of_last_latent=(44, 55),
    )


@pytest.mark.parametrize(
    ("index", "window", "latents", "queries", "actions"),
    [
        (1, (41, 97), (11, 24), (96, 88, 80, 72, 64), (85, 96)),
        (2, (81, 137), (21, 34), (136, 128, 120, 112, 104), (125, 136)),
        (7, (281, 337), (71, 84), (336, 328, 320, 312, 304), (325, 336)),
        (20, (801, 857), (201, 214), (856, 848, 840, 832, 824), (845, 856)),
    ],
)
def test_the_references_later_segments_written_out(
    index: int,
    window: tuple[int, int],
    latents: tuple[int, int],
    queries: tuple[int, ...],
    actions: tuple[int, int],
) -> None:
    made = frames.reference_segment(index)
    assert (made.start_frame, made.end_frame) == window
    assert (made.first_latent, made.last_latent) == latents
    assert made.memory_query_frames == queries
    assert made.action_slice_of_last_latent == actions
    assert made.num_new_frames == 40


def test_the_references_table_equals_the_published_formulas_for_segments_0_to_20() -> None:
    table = frames.segment_table(21)
    assert [made.segment_index for made in table] == list(range(21))
    for i, made in enumerate(table):
        end = 57 + 40 * i
        latent = 10 * i + 14
        assert made.end_frame == end
        assert made.start_frame == (0 if i == 0 else 1 + 40 * i)
        assert made.first_latent == (0 if i == 0 else 10 * i + 1)
        assert made.last_latent == latent
        assert made.num_new_frames == (57 if i == 0 else 40)
        assert list(made.memory_query_frames) == ([end - o for o in range(1, 34, 8)] if i else [])
        first = 4 * latent - (12 if i == 0 else 11)
        assert made.action_slice_of_last_latent == (first, first + 11)


def test_windows_of_the_reference_overlap_by_four_latents() -> None:
    table = frames.segment_table(21)
    for before, after in pairwise(table):
        shared = set(range(after.first_latent, after.last_latent + 1)) & set(
            range(before.first_latent, before.last_latent + 1)
        )
        assert sorted(shared) == list(range(before.last_latent - 3, before.last_latent + 1))
        assert before.end_frame - after.start_frame == 16


@pytest.mark.parametrize("segment_latents", [None, 1, 3])
def test_every_latent_and_frame_is_generated_exactly_once(segment_latents: int | None) -> None:
    table = frames.segment_table(21, segment_latents=segment_latents)
    first = 0 if segment_latents is None else 1  # a stream is given its start image
    latents = [latent for made in table for latent in made.new_latents]
    assert latents == list(range(first, table[-1].last_latent + 1))
    new = [
        frame
        for made in table
        for frame in range(made.end_frame - made.num_new_frames, made.end_frame)
    ]
    assert new == list(range(first, table[-1].end_frame))


@pytest.mark.parametrize("segment_latents", [None, 1, 3])
def test_windows_are_whole_latents_and_queries_lie_among_the_new_frames(
    segment_latents: int | None,
) -> None:
    for made in frames.segment_table(21, segment_latents=segment_latents):
        window = frames.frames_of_latents(
            made.first_latent, made.last_latent - made.first_latent + 1
        )
        assert window == range(made.start_frame, made.end_frame)
        new = range(made.end_frame - made.num_new_frames, made.end_frame)
        assert set(made.memory_query_frames) <= set(new)


def test_a_streams_segment_asks_memory_at_each_new_latents_last_frame() -> None:
    assert frames.stream_segment(0, 3) == frames.SegmentFrames(
        0, 1, 13, 1, 3, 12, (4, 8, 12), (1, 12)
    )
    assert frames.stream_segment(4, 3) == frames.SegmentFrames(
        4, 49, 61, 13, 15, 12, (52, 56, 60), (49, 60)
    )
    assert frames.stream_segment(2, 1, 8) == frames.SegmentFrames(2, 9, 13, 3, 3, 4, (12,), (5, 12))


def test_a_streams_first_latents_read_before_the_first_frame() -> None:
    assert frames.stream_segment(0, 1).action_slice_of_last_latent == (-7, 4)


def test_a_table_is_plain_json() -> None:
    [first, second] = [asdict(made) for made in frames.segment_table(2)]
    assert json.loads(json.dumps(second)) == {
        "segment_index": 1,
        "start_frame": 41,
        "end_frame": 97,
        "first_latent": 11,
        "last_latent": 24,
        "num_new_frames": 40,
        "memory_query_frames": [96, 88, 80, 72, 64],
        "action_slice_of_last_latent": [85, 96],
    }
    assert first["memory_query_frames"] == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: frames.segment_table(0), "count=0: expected at least 1 segment"),
        (lambda: frames.reference_segment(-1), "segment_index=-1: expected 0 or more"),
        (lambda: frames.stream_segment(-2, 3), "segment_index=-2: expected 0 or more"),
        (lambda: frames.stream_segment(0, 0), "segment_latents=0: expected at least 1"),
        (lambda: frames.stream_segment(0, 3, 0), "action_window_frames=0: expected at least 1"),
    ],
)
def test_segments_that_cannot_be_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
