"""What is promised can be measured by the experiment that promises it."""

from __future__ import annotations

from worldloom.experiments.catalogue import EXPERIMENTS
from worldloom.experiments.claims import COSTS
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.novelty import FRECHET


def test_every_claim_is_of_a_figure_that_is_measured_and_told_once():
    for entry in EXPERIMENTS.values():
        assert {claim.figure for claim in entry.claims} <= {*FIGURES, *COSTS, FRECHET}
        assert len(set(map(repr, entry.claims))) == len(entry.claims)


def test_limits_are_of_worlds_that_can_be_walked():
    for entry in EXPERIMENTS.values():
        for claim in entry.claims:
            assert set(claim.limits) <= {"procedural", "vizdoom"}
