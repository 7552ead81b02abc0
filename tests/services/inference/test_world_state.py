"""States that are cut and joined between segments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from services.inference.world_state import WorldState
from worldloom.errors import DataError


def state(num_segments: int = 4) -> WorldState:
    rng = np.random.default_rng(0)
    return WorldState(
        0,
        1 + num_segments,
        {
            "latents": rng.normal(size=(1 + 3 * num_segments, 2, 2)).astype(np.float32),
            "keyboard": rng.integers(0, 2, (1 + 12 * num_segments, 6)).astype(np.float32),
            "mouse": rng.normal(size=(1 + 12 * num_segments, 2)).astype(np.float32),
        },
    )


@pytest.mark.parametrize("cuts", [(0, 5), (0, 1, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_parts_joined_are_the_whole(cuts) -> None:
    whole = state()
    joined, *rest = [whole.part(a, b) for a, b in itertools.pairwise(cuts)]
    for part in rest:
        joined = joined.joined(part)
    assert (joined.start, joined.stop, joined.num_segments) == (0, 5, 4)
    for name, array in whole.arrays.items():
        assert joined.arrays[name].tobytes() == array.tobytes()


def test_part_of_a_part_is_the_same_part() -> None:
    inner = state().part(1, 5).part(2, 4)
    assert np.array_equal(inner.arrays["latents"], state().arrays["latents"][4:10])


def test_actions_of_segments_come_without_the_start_images() -> None:
    whole = state()
    actions = whole.actions(1, 3)
    assert np.array_equal(actions.keyboard, whole.arrays["keyboard"][13:37])
    assert np.array_equal(actions.mouse, whole.arrays["mouse"][13:37])


def test_gap_between_parts_is_refused() -> None:
    with pytest.raises(DataError, match="expected one from unit 2 on"):
        state().part(0, 2).joined(state().part(3, 5))


def test_array_that_has_no_whole_segments_is_refused() -> None:
    with pytest.raises(DataError, match="keyboard has 23 rows for 2 segments"):
        WorldState(1, 3, {"keyboard": np.zeros((23, 6))})


def test_size_is_that_of_the_arrays() -> None:
    assert state().num_bytes == 4 * (13 * 4 + 49 * 6 + 49 * 2)
