"""Parts as files, and the whole that they make."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from services.inference.session_record import SessionRecord
from services.inference.stored_part import (
    Progress,
    StoredPart,
    covered_names,
    join_parts,
    latest_names,
)
from services.inference.world_state import WorldState
from worldloom.actions import Actions
from worldloom.errors import DataError

WHOLE = WorldState(
    0,
    6,
    {
        "latents": np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32),
        "poses": np.random.default_rng(1).normal(size=(16, 4, 4)),
        "keyboard": np.random.default_rng(2).integers(0, 2, (61, 6)).astype(np.float32),
        "mouse": np.random.default_rng(3).normal(size=(61, 2)).astype(np.float32),
    },
)


def part(start: int, stop: int, pending: Actions | None = None, opened: int = 7) -> StoredPart:
    record = SessionRecord(
        session_id="a", release="sha256:1", world="w", prompt="p", seed=3, enable_memory=True,
        pitch_radians=0.1, is_resumable=True, opened_at_ms=opened,
    )  # fmt: skip
    progress = Progress(num_frames=12 * (stop - 1), is_finishing=False, is_paused=False)
    state = WHOLE.part(start, stop) if start < stop else WorldState(start, stop, {})
    return StoredPart(record, progress, state, pending)


def same(one: WorldState, other: WorldState) -> bool:
    return (one.start, one.stop, one.arrays.keys()) == (
        other.start,
        other.stop,
        other.arrays.keys(),
    ) and all(one.arrays[name].tobytes() == other.arrays[name].tobytes() for name in one.arrays)


def test_part_is_read_back_bit_for_bit() -> None:
    actions = Actions.still(5)
    actions.keyboard[2, 0] = 1
    written = part(2, 4, actions)
    read = StoredPart.from_bytes(written.to_bytes())
    assert (read.record, read.progress) == (written.record, written.progress)
    assert same(read.state, written.state)
    assert np.array_equal(read.pending.keyboard, actions.keyboard)
    assert StoredPart.from_bytes(part(2, 4).to_bytes()).pending is None


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"nonsense" * 9, part(0, 2).to_bytes()[:-1]])
def test_damaged_part_is_refused(data) -> None:
    with pytest.raises(DataError, match="no part of a session"):
        StoredPart.from_bytes(data)


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 6)],
        [(0, 1), (1, 2), (2, 6)],
        [(0, 1), (0, 4), (1, 2), (2, 3), (4, 6)],  # a large part beside the small ones
        [(0, 3), (2, 5), (4, 6)],  # two processes
        [(0, 6), (3, 3), (6, 6)],
    ],
)
def test_parts_in_order_of_their_names_are_the_whole(ranges) -> None:
    parts = sorted((part(*given) for given in ranges), key=lambda part: part.name)
    joined = join_parts(parts)
    assert same(joined.state, WHOLE)
    assert joined.progress.num_frames == 60


def test_end_that_was_stored_last_says_what_waited() -> None:
    joined = join_parts([part(0, 6), part(6, 6, Actions.still(4))])
    assert len(joined.pending) == 4
    assert join_parts([part(0, 2, Actions.still(4)), part(2, 6)]).pending is None


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_missing_part_is_never_passed_over(missing) -> None:
    ranges = list(itertools.pairwise((0, 1, 2, 4, 6)))
    parts = [part(*given) for index, given in enumerate(ranges) if index != missing]
    with pytest.raises(DataError, match="are missing"):
        join_parts(parts)


def test_session_that_has_no_part_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least one"):
        join_parts([])


def test_names_of_an_earlier_session_of_the_same_id_are_passed_over() -> None:
    old, new = part(0, 6, opened=5).name, [part(0, 1).name, part(1, 2).name]
    assert latest_names([old, *reversed(new), "foreign", ".tmp"]) == new
    assert latest_names([]) == []


def test_large_part_covers_the_small_ones_and_those_of_earlier_sessions() -> None:
    small = [part(0, 1).name, part(1, 4).name]
    others = [part(3, 6).name, part(5, 6).name, "foreign"]
    old = part(4, 6, opened=5).name
    large = part(0, 4)
    assert covered_names([*small, *others, old, large.name], large) == [*small, old]
