"""Films play, sheets show what they should, and the same frames give the same bytes."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from worldloom.errors import DataError
from worldloom.evaluate.film import contact_sheet, enlarge, side_by_side, write_mp4, write_png


def test_a_film_reads_back(clips, tmp_path):
    frames = enlarge(clips[0].frames[:9], 2)
    write_mp4(tmp_path / "walk.mp4", frames)
    with av.open(str(tmp_path / "walk.mp4")) as container:
        assert container.streams.video[0].average_rate == 16
        read = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 8


@pytest.mark.slow
def test_the_same_frames_give_the_same_bytes(clips, tmp_path):
    grain = np.random.default_rng(0).integers(0, 60, clips[0].frames.shape).astype(np.uint8)
    film = side_by_side((clips[0].frames // 2 + grain, clips[0].frames), ("a", "b"), factor=3)
    kept = []
    for name in ("a", "b", "c"):
        kept.append(np.random.default_rng(len(kept)).integers(0, 256, 999_999 * (1 + len(kept))))
        write_mp4(tmp_path / f"{name}.mp4", film)
    assert len({(tmp_path / f"{name}.mp4").read_bytes() for name in "abc"}) == 1


def test_a_coarser_film_is_smaller(clips, tmp_path):
    sizes = []
    for crf in (20, 26):
        write_mp4(tmp_path / "film.mp4", clips[0].frames, crf=crf)
        sizes.append((tmp_path / "film.mp4").stat().st_size)
    assert sizes[1] < 0.75 * sizes[0]


def test_odd_sizes_are_padded(tmp_path):
    write_mp4(tmp_path / "odd.mp4", np.zeros((3, 31, 33, 3), np.uint8))
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (32, 34)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (3, 8, 8), (3, 8, 8, 4)])
def test_what_is_no_film_is_refused(tmp_path, shape):
    with pytest.raises(DataError, match=r"expected uint8 \[F, H, W, 3\]"):
        write_mp4(tmp_path / "none.mp4", np.zeros(shape, np.uint8))


def test_both_films_are_on_screen():
    red, blue = (np.zeros((4, 8, 8, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 255, 255
    film = side_by_side((red, blue), ("model", "recording"))
    assert film.shape == (4, 22 + 32, 32 + 6 + 32, 3)
    assert (film[:, 22:, :32] == (255, 0, 0)).all()
    assert (film[:, 22:, -32:] == (0, 0, 255)).all()


def test_a_sheet_shows_the_first_and_the_last_frame(tmp_path):
    film = np.repeat(np.arange(20, dtype=np.uint8) * 10, 8 * 8 * 3).reshape(20, 8, 8, 3)
    sheet = contact_sheet([("a", film), ("b", film[:5])], columns=3, factor=2)
    assert sheet.shape == (2 * (22 + 16), 3 * (16 + 2), 3)
    assert (sheet[22:38, :16] == 0).all()
    assert (sheet[22:38, 36:52] == 190).all()
    write_png(tmp_path / "sheet.png", sheet)
    assert np.array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], sheet)


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(DataError, match="no films"):
        contact_sheet([])
