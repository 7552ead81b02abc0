"""The suite tells an obedient release from one that ignores its player."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from walkers import ObedientRelease

from worldloom.camera import pose_matrix, yaw_pitch
from worldloom.errors import DataError
from worldloom.evaluate.config import SuiteConfig
from worldloom.evaluate.gates import GateConfig, judge
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.results import summarise
from worldloom.evaluate.suite import Suite, choose_clips, seed_of, session_poses
from worldloom.evaluate.video_quality import copy_frame, psnr_db

CONFIG = SuiteConfig(divergence_segments=1)
BOOTSTRAP = BootstrapConfig()


@pytest.fixture(scope="module")
def rollouts(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    releases = {
        "obedient": ObedientRelease(clips),
        "deaf": ObedientRelease(clips, is_deaf=True),
    }
    return {
        name: Suite(CONFIG).run(release, clips, folder / name) for name, release in releases.items()
    }


def figures(rollouts):
    return summarise([rollout.result for rollout in rollouts], BOOTSTRAP)


def test_blurred_truth_is_near_truth_everywhere(rollouts):
    found = figures(rollouts["obedient"])
    assert found["psnr_db"].low > found["copy_last_frame_psnr_db"].high + 5
    assert found["yaw_sign_accuracy"].mean >= 0.95
    assert found["left_right_divergence"].mean > 3 * found["noise_divergence"].mean
    assert 0.05 < found["sharpness_ratio"].mean < 0.9
    assert abs(found["drift_db_per_segment"].mean) < 1.5
    assert found["revisit_psnr_db"].mean == pytest.approx(found["psnr_db"].mean, abs=3)


def test_a_release_that_ignores_its_player_fails_control(rollouts):
    found = figures(rollouts["deaf"])
    assert found["yaw_sign_accuracy"].mean < 0.5
    assert found["left_right_divergence"].mean < 3 * found["noise_divergence"].mean
    assert found["yaw_sign_accuracy_ground_truth"].mean >= 0.95


@pytest.mark.slow
def test_what_a_seed_draws_where_nothing_was_seen_is_no_noise(clips, rollouts, tmp_path):
    release = ObedientRelease(clips[:1], dreams=True)
    (dreamt,) = Suite(CONFIG).run(release, clips[:1], tmp_path)
    plain = rollouts["obedient"][0].result
    assert dreamt.result.noise_divergence == pytest.approx(plain.noise_divergence, rel=0.2)
    assert dreamt.result.left_right_divergence > 3 * dreamt.result.noise_divergence


def test_the_gate_tells_them_apart(rollouts):
    gate = GateConfig.model_validate({"parity": {"is_required": False}})
    obedient, deaf = (
        [rollout.result for rollout in rollouts[name]] for name in ("obedient", "deaf")
    )
    assert judge(obedient, None, None, gate=gate, bootstrap=BOOTSTRAP).verdict == "pass"
    refused = judge(deaf, None, None, gate=gate, bootstrap=BOOTSTRAP)
    assert refused.verdict == "refuse"
    assert {"obeys_turns", "left_is_not_right"} <= {b.name for b in refused.bars if not b.is_met}
    against = judge(deaf, obedient, None, gate=gate, bootstrap=BOOTSTRAP)
    assert against.verdict == "refuse"
    assert any(reason.startswith("yaw_sign_accuracy differs") for reason in against.reasons)


def test_frames_follow_the_recorded_poses(rollouts, clips):
    for rollout, clip in zip(rollouts["obedient"], clips, strict=True):
        assert rollout.frames.shape == clip.frames.shape
        assert np.array_equal(rollout.frames[0], clip.frames[0])
        assert rollout.result.num_frames == 48
        assert len(rollout.result.segment_psnr_db) == 4


def test_baseline_repeats_the_start_frame(rollouts, clips):
    expected = psnr_db(copy_frame(clips[0].frames[0], 48), clips[0].frames[1:]).mean()
    found = rollouts["obedient"][0].result.copy_last_frame_psnr_db
    assert found == pytest.approx(expected)


@pytest.mark.slow
def test_a_killed_suite_goes_on_where_it_was(clips, tmp_path):
    config = SuiteConfig(max_segments=1, divergence_segments=1)
    first = ObedientRelease(clips)
    whole = Suite(config).run(first, clips[:2], tmp_path / "whole")
    Suite(config).run(ObedientRelease(clips), clips[:1], tmp_path / "killed")
    second = ObedientRelease(clips)
    told = []
    rest = Suite(config).run(
        second, clips[:2], tmp_path / "killed", lambda index, result: told.append(index)
    )
    assert (first.num_opened, second.num_opened) == (8, 4)
    assert told == [0, 1]
    for one, other in zip(whole, rest, strict=True):
        assert one.result == other.result
        assert np.array_equal(one.frames, other.frames)


def test_times_are_kept_apart_from_results(clips, tmp_path):
    ticks = iter(range(1000))
    config = SuiteConfig(max_segments=2, divergence_segments=1)
    suite = Suite(config, clock=lambda: float(next(ticks)))
    suite.run(ObedientRelease(clips), clips[:1], tmp_path)
    assert suite.segment_seconds == [1.0, 1.0]


def test_a_clip_shorter_than_a_segment_is_refused(clips, tmp_path):
    release = ObedientRelease(clips, frames_per_segment=60)
    with pytest.raises(DataError, match="49 frames, expected over 60"):
        Suite(CONFIG).run(release, clips[:1], tmp_path)
    with pytest.raises(DataError, match="no held-out clip has more than 60 frames"):
        choose_clips(clips, CONFIG, 60)


def test_clips_are_chosen_from_every_source_and_path(clips):
    assert choose_clips(clips, SuiteConfig(clips_per_source=2), 12) == clips[:2]
    assert choose_clips([*clips, clips[0]], SuiteConfig(clips_per_source=3), 12) == clips


def test_a_session_starts_at_the_origin_with_the_recorded_pitch(clips):
    looks_up = clips[0].poses_c2w.copy()
    looks_up[:, :3, :3] = pose_matrix(np.zeros(3), 0.7, 0.2)[:3, :3]
    for clip in [*clips, dataclasses.replace(clips[0], poses_c2w=looks_up)]:
        poses = session_poses(clip)
        yaw, pitch = yaw_pitch(poses[0])
        turned = [yaw_pitch(pose)[0] for pose in clip.poses_c2w[[0, 3]].astype(float)]
        assert np.sin(yaw_pitch(poses[3])[0] - turned[1] + turned[0]) == pytest.approx(0, abs=1e-6)
        assert np.abs(poses[0, :3, 3]).max() < 1e-6
        assert yaw == pytest.approx(0, abs=1e-6)
        assert pitch == pytest.approx(yaw_pitch(clip.poses_c2w[0].astype(float))[1], abs=1e-6)


def test_seeds_differ_by_clip_and_suite():
    assert len({seed_of(1, "a"), seed_of(1, "b"), seed_of(2, "a")}) == 3
    assert seed_of(1, "a") == seed_of(1, "a")
