"""Experts are named and shaped by view and noise; the boundary itself is high noise."""

from __future__ import annotations

import pytest

from worldloom.model.experts_config import (
    LOW_NOISE,
    ExpertsConfig,
    evaluations_by_expert,
    expert_of,
    expert_shapes,
    high_noise,
    resident_shapes,
)
from worldloom.presets import preset

MOE = preset("moe-28b")
EXPERTS = ExpertsConfig(noise_boundary=0.9)


@pytest.mark.parametrize(
    ("sigma", "name"),
    [
        (1.0, "high_noise_third_person"),
        (0.9, "high_noise_third_person"),
        (0.8999, "low_noise"),
        (0.0, "low_noise"),
    ],
)
def test_the_boundary_is_high_noise(sigma: float, name: str) -> None:
    assert expert_of(sigma, "third_person", EXPERTS) == name


def test_the_low_noise_expert_reads_no_actions() -> None:
    shapes = expert_shapes(MOE.transformer, EXPERTS)
    assert list(shapes) == [high_noise("first_person"), high_noise("third_person"), LOW_NOISE]
    assert shapes[high_noise("first_person")] == MOE.transformer
    assert shapes[LOW_NOISE].num_action_blocks == 0
    assert shapes[LOW_NOISE].num_blocks == MOE.transformer.num_blocks


def test_a_session_has_one_views_expert_and_the_shared_one_at_hand() -> None:
    assert len(resident_shapes(MOE.transformer, EXPERTS)) == 2
    assert resident_shapes(MOE.transformer, None) == [MOE.transformer]


def test_levels_are_shared_out_by_the_boundary() -> None:
    asked = evaluations_by_expert((1.0, 0.9, 0.5), EXPERTS)
    assert asked == {high_noise("first_person"): 2, high_noise("third_person"): 0, LOW_NOISE: 1}


def test_experts_of_a_stream_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"experts in layout 'stream'.*expected layout 'reference'"
    ):
        expert_shapes(preset("stream-5b").transformer, EXPERTS)


@pytest.mark.parametrize("views", [(), ("first_person", "first_person")])
def test_views_are_one_or_more_and_distinct(views) -> None:
    with pytest.raises(ValueError, match="expected one or more, none of them twice"):
        ExpertsConfig(views=views)
