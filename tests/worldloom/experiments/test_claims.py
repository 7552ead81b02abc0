"""A claim is reached by its whole interval, and says so."""

from __future__ import annotations

import pytest

from worldloom.experiments.claims import Claim, Found, Limit, answer

CLAIM = Claim(
    says="memory", figure="psnr_db", arm="ours", comparison="difference", against="none",
    limits={"procedural": Limit(least=8, goal=11)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Found(mean=9, low=8.1, high=10), "reached"),
        (Found(mean=9, low=7.9, high=10), "reached by the mean alone"),
        (Found(mean=7, low=6, high=8.5), "not reached"),
        (Found(mean=8), "reached"),
        (Found(mean=9, low=9, high=9, num_walks=3), "too few walks"),
        (Found(mean=9, low=9, high=9, num_walks=4), "reached"),
        (None, "no answer"),
    ],
)
def test_the_whole_interval_must_lie_on_the_right_side(found, outcome):
    assert answer(CLAIM, "procedural", found).outcome == outcome


def test_a_world_without_a_limit_judges_nothing():
    assert answer(CLAIM, "vizdoom", Found(mean=-5, low=-6, high=-4)).outcome == "no limit"


def test_a_limit_may_have_two_sides():
    between = Limit(least=0.85, most=1.15)
    assert between.holds(0.9, 1.1)
    assert not between.holds(0.8, 1.1)
    assert not between.holds(0.9, 1.2)
    assert between.told == "at least 0.85, at most 1.15"
    assert Limit(least=8, goal=11).told == "at least 8 (goal 11)"


def test_a_comparison_needs_another_arm_and_a_value_none():
    with pytest.raises(ValueError, match="expected an arm for a difference or a ratio"):
        Claim(says="memory", figure="psnr_db", arm="ours", comparison="ratio")
    with pytest.raises(ValueError, match="none for a value"):
        Claim(says="memory", figure="psnr_db", arm="ours", against="none")
