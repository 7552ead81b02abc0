"""A view that fades, flickers or stays."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.standing_still import standing_still


@pytest.fixture
def view(clips):
    return np.repeat(clips[1].frames[:1], 40, axis=0)


STANDS = np.array([False] * 4 + [True] * 30 + [False] * 6)


def test_a_view_that_stays_is_perfect(view):
    found = standing_still(view, STANDS)
    assert (found.kept_psnr_db, found.flicker_levels) == (60.0, 0.0)
    assert found.kept_sharpness == pytest.approx(1.0)
    assert found.num_frames == 31  # the frame before the stand has its pose


def test_a_view_that_brightens_by_a_level_a_frame_flickers_by_one(view):
    view = np.clip(view, 0, 150)
    brighter = view + np.arange(40, dtype=np.uint8)[:, None, None, None]
    found = standing_still(brighter, STANDS)
    assert found.flicker_levels == pytest.approx(1.0)
    error = np.arange(19, 31)
    assert found.kept_psnr_db == pytest.approx((20 * np.log10(255 / error)).mean())
    assert found.kept_sharpness == pytest.approx(1.0)


def test_a_short_stop_is_no_stand(view):
    assert standing_still(view, np.array([True] * 10 + [False] * 30)) is None
    assert standing_still(view, np.zeros(40, bool)) is None
