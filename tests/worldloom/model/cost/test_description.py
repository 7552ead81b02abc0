"""A description puts the counts together: once for one transformer, by expert for several."""

from __future__ import annotations

import resource

import pytest

from worldloom.model.cost.description import describe
from worldloom.model.cost.footprint import count_parameters, footprint, meta_transformer
from worldloom.model.cost.memory_plan import GIB, memory_needs
from worldloom.presets import preset


@pytest.mark.slow
def test_a_segment_is_prepared_once_and_evaluated_at_every_level() -> None:
    model = preset("nano-stream")
    told = describe(model.transformer, model.sampler.sigmas, 80 * GIB)
    passes = footprint(model.transformer).flops_by_pass
    assert told.num_evaluations == 3
    assert told.flops_per_segment == passes.segment(3)
    assert told.experts == {}
    assert set(told.gpu) == {"bf16", "int8"}
    assert [plan.num_gpus for plan in told.sharding] == [1, 2, 4, 8, 16]


def test_guidance_asks_twice_and_commits_once() -> None:
    model = preset("nano-stream")
    passes = footprint(model.transformer).flops_by_pass
    guided = describe(model.transformer, (1.0, 0.5), 80 * GIB, num_branches=2)
    assert guided.num_evaluations == 4
    assert guided.flops_per_segment == 2 * passes.segment(2) - passes.commit


# An expert's width, and blocks of both kinds: what depth adds is every figure's to say alike.
MOE = preset("moe-28b")
SHALLOW = MOE.transformer.model_copy(update={"num_blocks": 4, "num_action_blocks": 2})


@pytest.fixture(scope="module")
def experts_told():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = describe(SHALLOW, MOE.sampler.sigmas, 80 * GIB, experts=MOE.experts)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return told, grown << 10


def test_experts_are_told_one_by_one_and_together(experts_told) -> None:
    told, _ = experts_told
    assert list(told.experts) == [
        "high_noise_first_person",
        "high_noise_third_person",
        "low_noise",
    ]
    totals = [expert.parameters.total for expert in told.experts.values()]
    assert told.parameters.total == sum(totals)
    assert told.experts["low_noise"].parameters.action == 0
    assert told.parameters.core == 3 * told.experts["low_noise"].parameters.core
    # The student's levels are 0.9998 and 0.909 above the boundary, 0.714 below.
    assert [expert.num_evaluations for expert in told.experts.values()] == [2, 0, 1]
    high = footprint(SHALLOW).flops_by_pass
    low = told.flops_per_segment - high.prepare - 2 * high.evaluation
    assert low == told.experts["low_noise"].flops_per_forward


@pytest.mark.slow
def test_an_expert_has_its_specifications_parameters_and_fits_alone() -> None:
    core = count_parameters(meta_transformer(MOE.transformer)).core
    assert core == pytest.approx(14.29e9, rel=1e-3)
    needs = memory_needs(MOE.transformer, experts=MOE.experts)
    assert needs.total("bf16") > 80 * GIB > needs.total("bf16_one_expert")


def test_describing_allocates_no_weights(experts_told) -> None:
    """Six billion parameters are 24 GB in fp32; what grows is torch's own code, once loaded."""
    told, grown_bytes = experts_told
    assert 4 * told.parameters.total > 20e9
    assert grown_bytes < 1 << 30
