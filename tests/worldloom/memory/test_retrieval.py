import numpy as np

from worldloom.camera import Intrinsics, pose_matrix
from worldloom.memory.retrieval import (
    SINK_INDEX,
    RetrievalConfig,
    frustum_points,
    greedy_cover,
    pose_distance,
    repeats,
    retrieve,
    visibility,
)

INTRINSICS = Intrinsics.from_fov(64, 64)
CONFIG = RetrievalConfig()


def looking(yaw, position=(0.0, 0.0, 0.0)):
    return pose_matrix(np.array(position), yaw, 0.0)


def test_a_camera_sees_its_own_frustum_and_nothing_of_what_lies_behind():
    poses = np.stack([looking(0.0), looking(np.pi)])
    seen = visibility(poses[:1], poses, CONFIG, INTRINSICS)
    assert seen.shape == (1, len(frustum_points(CONFIG, INTRINSICS)), 2)
    assert seen[..., 0].all()
    assert not seen[..., 1].any()


def test_visibility_falls_with_the_angle_between_views():
    candidates = np.stack([looking(a) for a in (0.0, 0.4, 0.8, 1.5)])
    share = visibility(looking(0.0)[None], candidates, CONFIG, INTRINSICS).mean(axis=(0, 1))
    assert (np.diff(share) < 0).all()


def test_memory_prefers_frames_that_see_the_same_place():
    history = np.stack([looking(a) for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)])
    chosen = retrieve(looking(np.pi / 2)[None], history, 3, CONFIG, INTRINSICS)
    assert chosen[0] == SINK_INDEX
    assert 6 in chosen  # 24 views around, the seventh looks along pi / 2


def test_nothing_is_chosen_twice_and_never_more_than_there_is():
    history = np.stack([looking(yaw) for yaw in (0.0, 0.1, 0.2, 0.3)])
    chosen = retrieve(looking(0.0)[None], history, 5, CONFIG, INTRINSICS)
    assert sorted(chosen) == [0, 1, 2, 3]


def there_and_back(num_steps):
    """Views out, and back by steps that come out a little differently."""
    steps = range(num_steps)
    out = [looking(0.3 * step, (0.0, 0.0, 0.5 * step)) for step in steps]
    back = [looking(0.3 * step + 0.05, (0.1, 0.0, 0.5 * step)) for step in reversed(steps)]
    return np.stack([*out, *back])


def test_a_view_that_repeats_a_much_older_one_is_not_chosen():
    history = there_and_back(8)
    # The first three steps back are of views that are younger than six latents.
    assert np.flatnonzero(repeats(history, CONFIG)).tolist() == [11, 12, 13, 14, 15]
    coming = history[13:14]
    assert 2 in retrieve(coming, history, 2, CONFIG, INTRINSICS)
    all_differ = RetrievalConfig(repeat_metres=0.0, repeat_degrees=0.0)
    assert 13 in retrieve(coming, history, 2, all_differ, INTRINSICS)


def test_a_slow_turn_repeats_nothing():
    turn = np.stack([looking(np.radians(degrees)) for degrees in range(20)])
    assert not repeats(turn, CONFIG).any()


def test_laps_that_creep_away_begin_anew_rather_than_chain():
    """Each lap looks two degrees further; a chain would hold the first one for ever."""
    views = 10
    laps = [looking(0.6 * view + np.radians(2 * lap)) for lap in range(6) for view in range(views)]
    is_first = ~repeats(np.stack(laps), CONFIG)
    assert is_first.reshape(6, views).all(axis=1).tolist() == [True, False, False] * 2


def test_who_stands_still_repeats_whatever_the_tolerance():
    exact = RetrievalConfig(repeat_metres=0.0, repeat_degrees=0.0, repeat_latents=1)
    stand = np.stack([looking(0.7, (1.0, 2.0, 3.0))] * 3)
    assert repeats(stand, exact).tolist() == [False, True, True]


def test_each_choice_counts_only_what_the_others_do_not_see():
    # Candidate 1 sees points 0-5, 2 the same, 3 only 6-7: after 1 or 2, the third is worth more.
    seen = np.zeros((1, 8, 4), bool)
    seen[0, :6, 1] = seen[0, :6, 2] = seen[0, 6:, 3] = True
    assert greedy_cover(seen, np.zeros(4), 3, 0.0) == [SINK_INDEX, 1, 3]


def test_ties_go_to_the_nearer_pose_then_to_the_earlier():
    seen = np.ones((1, 4, 3), bool)
    seen[..., 0] = False
    assert greedy_cover(seen, np.array([0.0, 1.0, 2.0]), 2, 0.02)[1] == 1
    assert greedy_cover(seen, np.zeros(3), 2, 0.02)[1] == 1


def test_without_candidates_or_slots_nothing_is_chosen():
    empty = np.zeros((0, 4, 4))
    assert retrieve(looking(0.0)[None], empty, 3, CONFIG, INTRINSICS) == []
    assert retrieve(looking(0.0)[None], looking(0.0)[None], 0, CONFIG, INTRINSICS) == []


def test_pose_distance_adds_metres_and_radians():
    found = pose_distance(looking(0.0)[None], np.stack([looking(0.5), looking(0.0, (3, 0, 4))]))
    np.testing.assert_allclose(found, [0.5, 5.0], atol=1e-9)


def test_without_a_sink_the_first_choice_is_the_best_one():
    history = np.stack([looking(a) for a in (np.pi, 0.8, 0.1)])
    assert retrieve(looking(0.0)[None], history, 1, CONFIG, INTRINSICS, keep_sink=False) == [2]
    assert retrieve(looking(0.0)[None], history, 1, CONFIG, INTRINSICS) == [SINK_INDEX]


def test_of_equal_poses_the_earlier_wins_however_long_the_history():
    history = np.stack([looking(np.pi)] + [looking(0.0)] * 600)
    assert retrieve(looking(0.0)[None], history, 2, CONFIG, INTRINSICS) == [SINK_INDEX, 1]


def test_a_metre_costs_as_much_cover_as_the_weight_says():
    seen = np.zeros((1, 100, 3), bool)
    seen[0, :50, 1], seen[0, :52, 2] = True, True  # two hundredths more, but a metre farther
    distance = np.array([0.0, 0.0, 1.0])
    assert greedy_cover(seen, distance, 2, 0.019)[1] == 2
    assert greedy_cover(seen, distance, 2, 0.021)[1] == 1


def test_cover_estimates_the_share_of_volume():
    """A camera two of ten metres behind reaches eight metres deep into the frustum."""
    config = RetrievalConfig(near_metres=0.01, far_metres=10.0, depths=16, rows=16, cols=16)
    behind = looking(0.0, (0.0, 0.0, -2.0))
    share = visibility(looking(0.0)[None], behind[None], config, INTRINSICS).mean()
    assert abs(share - 0.8**3) < 0.01
