"""The index chooses as the pure functions do, and what it forgets is what others cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.bench.walk import random_walk
from worldloom.camera import Intrinsics, pose_matrix
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.keyframe_index import NO_LATENT, KeyframeIndex
from worldloom.memory.retrieval import retrieve, visibility

INTRINSICS = Intrinsics.from_fov(64, 64)
RETRIEVAL = RetrievalConfig(depths=4, rows=2, cols=4)
SMALL = BankConfig(capacity=12, recent_latents=4)


def looking(yaw, position=(0.0, 0.0, 0.0)):
    return torch.from_numpy(pose_matrix(np.array(position, dtype=float), yaw, 0.0))


def walk(num_latents, seed=0):
    frames = random_walk(np.random.default_rng(seed), 4 * num_latents)
    return torch.from_numpy(frames[::4])


def filled(poses, config=SMALL, retrieval=RETRIEVAL):
    index = KeyframeIndex(config, retrieval, INTRINSICS)
    for pose in poses:
        index.append(pose)
    return index


def held(index):
    return sorted(i for i in index.latent_indices.tolist() if i != NO_LATENT)


def test_before_it_is_full_it_holds_everything():
    index = filled(walk(12))
    assert held(index) == list(range(12))
    assert len(index) == 12


@pytest.mark.parametrize("seed", range(10))
def test_while_nothing_is_evicted_it_chooses_as_training_does(seed):
    poses = walk(100, seed)
    config = RetrievalConfig(far_metres=30.0)
    index = filled(poses[:90], BankConfig(capacity=128), config)
    for num_queries, exclude_from in ((3, 86), (5, 60), (1, 2), (5, 1)):
        queries = poses[90 : 90 + num_queries]
        expected = retrieve(queries.numpy(), poses[:exclude_from].numpy(), 5, config, INTRINSICS)
        found = index.query(queries, 5, exclude_from).tolist()
        assert found == expected + [NO_LATENT] * (5 - len(expected))


def test_without_a_sink_it_chooses_as_the_pure_function_does():
    poses = walk(12)
    expected = retrieve(
        poses[11:].numpy(), poses[:8].numpy(), 4, RETRIEVAL, INTRINSICS, keep_sink=False
    )
    found = filled(poses).query(poses[11:], 4, 8, keep_sink=False).tolist()
    assert found == expected


def test_an_empty_index_or_an_empty_past_yields_nothing():
    assert KeyframeIndex(SMALL, RETRIEVAL, INTRINSICS).query(walk(2), 3, 5).tolist() == [-1] * 3
    assert filled(walk(6)).query(walk(2), 3, 0).tolist() == [-1] * 3


@pytest.mark.slow
def test_nothing_is_chosen_twice_and_nothing_from_the_excluded_past():
    poses = walk(300)
    index = KeyframeIndex(SMALL, RETRIEVAL, INTRINSICS)
    for latent, pose in enumerate(poses[:-3]):
        index.append(pose)
        found = index.query(poses[latent : latent + 3], 8, latent - 2).tolist()
        chosen = [i for i in found if i != NO_LATENT]
        assert len(set(chosen)) == len(chosen)
        assert all(i < latent - 2 for i in chosen)
        assert chosen[:1] == ([0] if latent > 2 else [])


def test_the_sink_and_the_newest_are_always_held():
    index = KeyframeIndex(SMALL, RETRIEVAL, INTRINSICS)
    for latent, pose in enumerate(walk(200)):
        index.append(pose)
        assert {0, *range(max(0, latent - 3), latent + 1)} <= set(held(index))
    assert len(held(index)) == SMALL.capacity


def test_who_stands_still_keeps_what_was_seen_before():
    """Copies of one view make each other redundant, the newest first, and never other views."""
    around = [looking(yaw) for yaw in np.linspace(0, 2 * np.pi, 6, endpoint=False)]
    index = filled([*around, *[looking(0.5)] * 50])
    assert set(range(6)) <= set(held(index))
    copies = [i for i in held(index) if i > 5]
    assert copies == [6, 7, *range(52, 56)]  # the first ones, and those that are too new to go


def test_the_most_covered_latent_goes():
    """Latent 5 looks nearly where 3 looked before it; everything else looks elsewhere."""
    yaws = [0.0, 1.0, 2.0, 3.0, 4.0, 3.05, 5.0]
    config = BankConfig(capacity=6, recent_latents=1)
    assert held(filled([looking(yaw) for yaw in yaws], config)) == [0, 1, 2, 3, 4, 6]


def test_of_equal_poses_the_oldest_are_chosen():
    index = filled([looking(np.pi), *[looking(0.0)] * 8])
    assert index.query(looking(0.0)[None], 3, 9).tolist() == [0, 1, 2]
    # Latents 7 and 8 are six and more younger than the first of their view.
    assert index.query(looking(0.0)[None], 9, 9).tolist() == [*range(7), NO_LATENT, NO_LATENT]


def test_lap_after_lap_the_first_is_remembered():
    """Each lap stands a little aside of the first; the bank holds two of the three that were."""
    views = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    laps = [looking(yaw + 0.01 * lap, (0.01 * lap, 0.0, 0.0)) for lap in range(3) for yaw in views]
    index = filled(laps, BankConfig(capacity=16, recent_latents=4))
    assert set(range(8)) <= set(held(index))
    coming = looking(views[3] + 0.02, (0.02, 0.0, 0.0))[None]
    assert index.query(coming, 3, 24).tolist()[1] == 3
    assert all(i < 8 for i in index.query(coming, 8, 24).tolist())


def test_a_repeat_that_is_too_new_to_go_drives_out_nothing_of_its_own_view():
    """Latents 7 and 8 repeat 1 and 2; of the others 4 is covered best, by 3."""
    yaws = [0.0, 1.0, 2.0, 3.0, 3.3, 4.2, 5.2, 1.01, 2.01, 6.0]
    index = filled([looking(yaw) for yaw in yaws], BankConfig(capacity=9, recent_latents=4))
    assert held(index) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("seed", range(3))
def test_repeats_are_passed_over_as_training_does(seed):
    around = walk(30, seed)
    poses = torch.cat([around, around.flip(0), around])
    index = filled(poses, BankConfig(capacity=128))
    expected = retrieve(poses[7:10].numpy(), poses.numpy(), 5, RETRIEVAL, INTRINSICS)
    assert index.query(poses[7:10], 5, 90).tolist() == expected
    assert max(expected) < 30


def test_cover_is_what_visibility_says_of_both():
    poses = walk(40)
    index = filled(poses)
    now = index.poses.numpy()
    seen = visibility(now, now, RETRIEVAL, INTRINSICS).mean(axis=1)
    seen = (seen + seen.T) / 2
    np.fill_diagonal(seen, -1)
    np.testing.assert_array_equal(index.cover.numpy(), seen)


@pytest.mark.slow
def test_after_ten_thousand_appends_it_equals_a_fresh_one_of_its_keyframes():
    poses = walk(1000)
    old = KeyframeIndex(SMALL, RETRIEVAL, INTRINSICS)
    for latent in range(10_000):
        old.append(poses[(7 * latent) % 1000])
    fresh = KeyframeIndex(SMALL, RETRIEVAL, INTRINSICS)
    order = old.latent_indices.argsort()
    for slot in order.tolist():
        fresh.append(old.poses[slot], int(old.latent_indices[slot]))
    assert torch.equal(fresh.latent_indices, old.latent_indices[order])
    assert torch.equal(fresh.poses, old.poses[order])
    assert torch.equal(fresh.cover, old.cover[order][:, order])
    assert len(fresh) == len(old) == 10_000
    queries = poses[:3]
    assert torch.equal(fresh.query(queries, 6, 9_999), old.query(queries, 6, 9_999))
    fresh.append(poses[5])
    old.append(poses[5])
    assert held(fresh) == held(old)


def test_a_walk_far_from_its_start_is_seen_as_one_at_its_start():
    poses = walk(40)
    far = poses.clone()
    far[:, :3, 3] += torch.tensor([20_000.0, 0.0, -50_000.0])
    near_index, far_index = filled(poses), filled(far)
    assert held(near_index) == held(far_index)
    assert torch.equal(near_index.query(poses[38:], 5, 36), far_index.query(far[38:], 5, 36))


def test_a_latent_cannot_be_added_before_the_last():
    with pytest.raises(ValueError, match="latent 3: expected at least 5, the next one"):
        filled(walk(5)).append(looking(0.0), latent_index=3)
