"""The published retrieval: its query frames, its ties, its duplicates and its sink."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.camera import pose_matrix
from worldloom.memory.reference import (
    MemorySlot,
    best_frames,
    query_frames,
    reference_scores,
    retrieve_reference,
)


def looking(yaw, position=(0.0, 0.0, 0.0)):
    return pose_matrix(np.array(position, dtype=float), yaw, 0.0)


def standing(num_frames):
    return np.stack([looking(0.0)] * num_frames)


def test_query_frames_step_back_by_eight_from_the_last_of_the_window():
    assert query_frames(97) == [96, 88, 80, 72, 64]


def test_of_equal_frames_the_oldest_is_taken_for_every_query():
    slots = retrieve_reference(standing(97), 41, 97)
    assert [slot.latent_index for slot in slots] == [1, 1, 1, 1, 1]
    assert [slot.query_frame for slot in slots] == [96, 88, 80, 72, 64]


def test_the_best_view_fills_several_slots_and_the_last_is_the_sinks():
    poses = standing(97)
    poses[:41] = looking(np.pi)  # history looks away ..
    poses[30] = looking(0.0)  # .. but for one frame, of latent (30 - 1) // 4 + 1 = 8
    slots = retrieve_reference(poses, 41, 97)
    assert slots == [
        MemorySlot(8, 96),
        MemorySlot(8, 88),
        MemorySlot(8, 80),
        MemorySlot(8, 72),
        MemorySlot(1, 64),
    ]


def test_frame_0_and_the_windows_own_past_are_no_candidates():
    poses = np.stack([looking(np.pi)] * 97)
    poses[0] = poses[41:] = looking(0.0)  # the window's past, 41 .. 56, sees the same as its end
    poses[17] = looking(1.0)
    assert best_frames(poses, 41, [96]).tolist() == [17]


def test_each_query_is_answered_for_itself():
    poses = standing(97)
    poses[1:41] = looking(np.pi)
    poses[10], poses[20] = looking(0.5), looking(-0.5)
    poses[96], poses[88] = looking(0.6), looking(-0.6)
    assert best_frames(poses, 41, [96, 88]).tolist() == [10, 20]


def test_scores_are_shares_of_the_thousand_points():
    """Depths must lie strictly between near and far, so a frame does not see its own ends."""
    layer = 29.9 / 9
    behind = [looking(np.pi), looking(0.0), looking(0.0, (0, 0, -0.01))]
    behind.append(looking(0.0, (0, 0, -2.5 * layer)))
    scores = reference_scores(looking(0.0)[None], np.stack(behind))
    # A step back brings the nearest layer of ten into view; further ones push the farthest out.
    np.testing.assert_allclose(scores[0], [0.0, 0.8, 0.9, 0.7])


@pytest.mark.parametrize(("start", "end", "count"), [(4, 60, 60), (41, 73, 97), (41, 97, 96)])
def test_a_window_without_enough_frames_is_refused(start, end, count):
    with pytest.raises(ValueError, match="expected a start after frame 4"):
        retrieve_reference(standing(count), start, end)
