"""Figures over clips."""

from __future__ import annotations

import pytest
from records import clip_result

from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.results import FIGURES, ClipResult, compare, summarise

BOOTSTRAP = BootstrapConfig()


def test_every_clip_weighs_the_same_but_pairs_are_pooled():
    clips = [
        clip_result("a", psnr_db=20.0, num_turning_pairs=9, num_right_yaw_signs=9),
        clip_result("b", psnr_db=10.0, num_turning_pairs=1, num_right_yaw_signs=0),
    ]
    found = summarise(clips, BOOTSTRAP)
    assert found["psnr_db"].mean == 15.0
    assert found["yaw_sign_accuracy"].mean == pytest.approx(0.9)


def test_what_no_clip_has_is_left_out():
    clips = [clip_result("a", revisit_psnr_db=None, num_turning_pairs=0)]
    found = summarise(clips, BOOTSTRAP)
    assert "revisit_psnr_db" not in found
    assert "yaw_sign_accuracy" not in found
    assert found["psnr_db"].num_clips == 1


def test_comparison_is_over_the_clips_that_both_have():
    candidate = [clip_result("a", psnr_db=21.0), clip_result("b", psnr_db=99.0)]
    champion = [clip_result("a", psnr_db=20.0), clip_result("c", psnr_db=1.0)]
    difference = compare(candidate, champion, BOOTSTRAP)["psnr_db"]
    assert (difference.mean, difference.num_clips) == (1.0, 1)


def test_other_seeds_are_no_pairs():
    with pytest.raises(ValueError, match="expected paired rollouts"):
        compare([clip_result("a", seed=1)], [clip_result("a", seed=2)], BOOTSTRAP)


def test_every_figure_reads_a_clip():
    clip = clip_result("a")
    for figure in FIGURES.values():
        assert figure.fraction(clip) is not None


def test_results_survive_json():
    clip = clip_result("a", psnr_db=0.1 + 0.2)
    assert ClipResult.model_validate_json(clip.model_dump_json()) == clip
