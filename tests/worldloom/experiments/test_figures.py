"""Films whose figures are known: the recording itself, a frozen one, a blurred one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldloom.evaluate.protocol import CasesConfig, record_case
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.figures import (
    Instruments,
    MeasureConfig,
    measure,
    novel_features,
    novel_mask,
    truth_of,
)
from worldloom.experiments.probes import figure_names
from worldloom.experiments.reconstruction import FIGURES_OF_RECONSTRUCTION

INSTRUMENTS = Instruments(MeasureConfig(pose_stride_frames=0), 12, None)
WRITTEN_LATER = {*FIGURES_OF_RECONSTRUCTION, "parity_psnr_db", *figure_names()}


@pytest.fixture(scope="module")
def truth(cases):
    return truth_of(cases[0], INSTRUMENTS)


def test_the_recording_is_perfect(cases, truth):
    values, segments = measure(cases[0].frames, truth, INSTRUMENTS)
    assert set(values) == set(FIGURES) - WRITTEN_LATER
    assert segments == [60.0] * 5
    for name in ("psnr_db", "revisit_psnr_db", "recent_psnr_db", "mirror_psnr_db"):
        assert values[name] == pytest.approx(60.0)
    assert values["ssim"] == pytest.approx(1.0)
    assert values["texture_distance"] == pytest.approx(0.0, abs=1e-9)
    assert values["drift_db_per_segment"] == pytest.approx(0.0)


def test_figures_are_of_what_was_made_behind_what_was_given(cases, truth):
    instruments = replace(INSTRUMENTS, given_frames=24)
    spoilt = cases[0].frames.copy()
    spoilt[1:25] = 255 - spoilt[1:25]
    values, segments = measure(spoilt, truth, instruments)
    assert segments == [60.0] * 3
    for name in ("psnr_db", "revisit_psnr_db", "recent_psnr_db", "mirror_psnr_db"):
        assert values[name] == pytest.approx(60.0), name
    assert values["mirror_self_psnr_db"] < 30  # its other half is what was given
    spoilt[25:37] = 255 - spoilt[25:37]
    _, segments = measure(spoilt, truth, instruments)
    assert segments[0] < 30
    assert segments[1:] == [60.0] * 2


def test_a_frozen_film_agrees_with_itself_alone(cases, truth):
    frozen = np.repeat(cases[0].frames[:1], cases[0].num_frames, axis=0)
    values, _ = measure(frozen, truth, INSTRUMENTS)
    assert values["mirror_self_psnr_db"] == 60.0
    assert values["mirror_psnr_db"] < 40


def test_blur_is_told_by_sharpness(cases, truth):
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in cases[0].frames])
    values, _ = measure(soft, truth, INSTRUMENTS)
    assert values["sharpness_ratio"] < 0.4
    assert values["texture_distance"] > 0.01


def test_a_short_walk_has_no_long_figures(cases, truth):
    values, _ = measure(cases[0].frames, truth, INSTRUMENTS)
    assert values["late_over_early_revisit_ssim"] is None
    assert values["loss_segments_2_to_12_db"] is None
    assert values["kept_psnr_db"] is None


@pytest.mark.slow
def test_poses_and_actions_are_read_where_instruments_are_given(cases):
    torch.manual_seed(0)
    reader = InverseDynamics(
        InverseDynamicsConfig(height=32, width=32, channels=(8,), hidden=8)
    ).eval()
    pose = MeasureConfig().pose.model_copy(update={"num_halvings": 1})
    seeing = Instruments(MeasureConfig(pose=pose, pose_stride_frames=40), 12, reader)
    truth = truth_of(cases[0], seeing)
    values, _ = measure(cases[0].frames, truth, seeing)
    assert values["located_share"] == 1.0
    assert values["yaw_error_degrees"] == values["recording_yaw_error_degrees"]
    assert values["key_accuracy"] == values["recording_key_accuracy"]


def test_novel_patches_are_those_that_nobody_saw(cases, truth):
    mask = novel_mask(truth, INSTRUMENTS.config)
    assert not mask[0].any()
    assert mask[31].any()
    assert not mask[54:].any()  # the way back shows nothing new, a window after the turn
    small = INSTRUMENTS.config.model_copy(update={"frechet": FrechetConfig(patch_pixels=8)})
    assert len(novel_features(cases[0].frames, truth, replace(INSTRUMENTS, config=small)))
    features = novel_features(cases[0].frames, truth, INSTRUMENTS)
    assert features.shape[1] == INSTRUMENTS.config.frechet.num_features


def test_without_depth_a_way_that_leads_on_is_new_after_its_start(truth):
    forward = record_case(
        CasesConfig(world="procedural", path="forward", num_cases=1, num_frames=37,
                    height=32, width=32), 0
    )  # fmt: skip
    blind = replace(truth, case=forward, masks=None)
    mask = novel_mask(blind, INSTRUMENTS.config)
    assert not mask[:24].any()
    assert mask[24:].all()
