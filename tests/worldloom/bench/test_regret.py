from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.bench.regret import (
    FEWEST_LATENTS,
    MOST_LATENTS,
    PAST_LATENTS,
    REFERENCE_INTRINSICS,
    REFERENCE_RETRIEVAL,
    Trial,
    first_choice,
    measure_eviction,
    measure_regret,
    reference_choice,
    trials,
)
from worldloom.camera import pose_matrix
from worldloom.memory.config import BankConfig
from worldloom.memory.keyframe_index import KeyframeIndex


def looking(yaw, forward=0.0):
    return pose_matrix(np.array([0.0, 0.0, forward]), yaw, 0.0)


@pytest.mark.slow
def test_trials_have_walks_of_all_lengths_and_repeat_with_their_seed():
    first, again = (list(trials(60, seed=2)) for _ in range(2))
    lengths = [len(trial.candidates) for trial in first]
    assert min(lengths) >= FEWEST_LATENTS - PAST_LATENTS
    assert max(lengths) <= MOST_LATENTS - PAST_LATENTS
    assert max(lengths) - min(lengths) > 40
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.query, other.query)
        np.testing.assert_array_equal(one.candidates, other.candidates)


def test_the_query_lies_ahead_of_the_candidates():
    """Ten metres at most: 14 latents of half a metre, and more than the window's past."""
    for trial in trials(20, seed=3):
        step = np.linalg.norm(trial.query[:3, 3] - trial.candidates[-1, :3, 3])
        assert step < 0.1235 * 4 * 15
        assert not (trial.candidates == trial.query).all(axis=(1, 2)).any()


def test_ours_takes_the_view_that_shares_most_volume_and_the_reference_the_nearest_points():
    """The reference counts as many points in the first tenth of the depth as in the last."""
    candidates = np.stack([looking(np.pi), looking(0.35), looking(0.0, -6.0)])
    trial = Trial(looking(0.0), candidates)
    assert first_choice(trial) == 1
    assert reference_choice(trial) == 2


@pytest.mark.slow
def test_a_session_of_a_trials_latents_chooses_the_same():
    for trial in trials(10, seed=6):
        index = KeyframeIndex(BankConfig(), REFERENCE_RETRIEVAL, REFERENCE_INTRINSICS)
        for pose in torch.from_numpy(trial.candidates):
            index.append(pose)
        query = torch.from_numpy(trial.query)[None]
        found = index.query(query, 1, len(index), keep_sink=False)
        assert found.tolist() == [first_choice(trial)]


@pytest.mark.slow
def test_regret_is_a_share_and_ours_is_the_smaller():
    regret = measure_regret(20, seed=1)
    for values in (regret.ours, regret.reference):
        assert len(values) == 20
        assert (values >= 0).all()
        assert (values <= 1).all()
    assert regret.ours.mean() < regret.reference.mean()


def test_a_bank_that_holds_everything_loses_no_more_than_its_points_do():
    frames = 400
    whole = measure_eviction(BankConfig(capacity=100, recent_latents=8), frames, 10, seed=0)
    small = measure_eviction(BankConfig(capacity=6, recent_latents=4), frames, 10, seed=0)
    assert whole.mean() < 0.01
    assert small.mean() > whole.mean()
