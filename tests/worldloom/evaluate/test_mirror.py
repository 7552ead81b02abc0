"""The way back beside the way out."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.mirror import MirrorPair, mirror_pairs, mirror_psnr_db


def test_a_palindromes_frames_are_paired_around_its_middle(clips):
    poses = clips[0].poses_c2w.astype(float)
    pairs = mirror_pairs(poses, least_gap_frames=24)
    assert pairs[0] == MirrorPair(12, 36)
    assert pairs[-1] == MirrorPair(0, 48)
    assert len(pairs) == 13


def test_a_free_walk_has_no_mirror(clips):
    assert not mirror_pairs(clips[1].poses_c2w.astype(float), least_gap_frames=24)


def test_the_recording_is_its_own_mirror(clips):
    frames = clips[0].frames
    pairs = mirror_pairs(clips[0].poses_c2w.astype(float), least_gap_frames=24)
    assert mirror_psnr_db(frames, frames, pairs) == (60.0, 60.0)


def test_what_was_made_up_and_kept_agrees_with_itself_alone(clips):
    frames = 255 - clips[0].frames
    pairs = mirror_pairs(clips[0].poses_c2w.astype(float), least_gap_frames=24)
    recorded, own = mirror_psnr_db(frames, clips[0].frames, pairs)
    assert own == 60.0
    assert recorded < 20


def test_an_error_on_the_way_back_is_its_closed_form(clips):
    frames = np.full_like(clips[0].frames, 100)
    back = frames.copy()
    back[25:] += 10
    pairs = mirror_pairs(clips[0].poses_c2w.astype(float), least_gap_frames=2)
    assert mirror_psnr_db(back, frames, pairs) == pytest.approx((20 * np.log10(25.5),) * 2)


def test_without_pairs_there_is_no_figure(clips):
    assert mirror_psnr_db(clips[0].frames, clips[0].frames, []) is None
