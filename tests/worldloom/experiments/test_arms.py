"""What an experiment refuses to be."""

from __future__ import annotations

import pytest

from worldloom.experiments.arms import Arm, Experiment, WalkPlan
from worldloom.experiments.claims import Claim

ARMS = (Arm(name="a", title="one"), Arm(name="b", title="other"))


def experiment(**values):
    known = {
        "name": "e", "question": "?", "control": "a", "arms": ARMS, "figures": ("psnr_db",),
        "walks": (WalkPlan(path="loop", num_segments=2, num_cases=1),),
    }  # fmt: skip
    return Experiment.model_validate(known | values)


def test_an_arm_is_found_by_its_name():
    assert experiment().arm("b").title == "other"
    with pytest.raises(ValueError, match="expected one of a, b"):
        experiment().arm("c")


def test_a_control_that_is_no_arm_and_arms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="control 'c'"):
        experiment(control="c")
    with pytest.raises(ValueError, match="expected different names"):
        experiment(arms=(ARMS[0], ARMS[0]))


def test_arms_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="naive sampling is of the base"):
        Arm(name="a", title="one", is_naive=True)
    with pytest.raises(ValueError, match="without a cut decoder"):
        Arm(name="a", title="one", decoder_steps=3)


def test_a_walk_is_walked_by_arms_that_are_there_and_by_the_control():
    walk = WalkPlan(path="loop", num_segments=2, num_cases=1, arms=("b",))
    with pytest.raises(ValueError, match=r"walk loop: arms \['b'\], expected some of"):
        experiment(walks=(walk,))


def test_a_claim_is_about_arms_and_walks_that_are_there():
    for values in ({"arm": "c", "path": "loop"}, {"arm": "a", "path": "laps"}):
        claim = Claim(says="s", figure="psnr_db", **values)
        with pytest.raises(ValueError, match="claim 's': arms"):
            experiment(claims=(claim,))
