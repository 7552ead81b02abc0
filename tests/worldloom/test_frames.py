"""Frame arithmetic: 4n+1, which latent holds a frame, and the reference's windows."""

from __future__ import annotations

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
