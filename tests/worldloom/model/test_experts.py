"""Experts answer for one transformer, each at its noise levels, in its view."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_presets import lively, noised, scaled_down
from torch import Tensor

from worldloom.model.attention import BlockContext
from worldloom.model.cost.dry_run import DryRun, later_segment
from worldloom.model.experts import NoiseExperts
from worldloom.model.experts_config import ExpertsConfig
from worldloom.model.transformer import Context, SegmentConditions
from worldloom.presets import preset

SHAPE = scaled_down(preset("moe-28b").transformer).model_copy(update={"segment_latents": 2})
BOUNDARY = 0.9


@pytest.fixture(scope="module")
def experts() -> NoiseExperts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = NoiseExperts(SHAPE, ExpertsConfig(noise_boundary=BOUNDARY))
    noised(built)
    return built


@pytest.fixture
def inputs() -> DryRun:
    return lively(later_segment(SHAPE), SHAPE)


def at(inputs: DryRun, level: float) -> Tensor:
    return torch.where(inputs.sigma > 0, level, 0.0)


def twice(inputs: DryRun) -> SegmentConditions:
    """The conditions of two samples, the second of which plays other actions."""
    doubled = {
        name: torch.cat([value, value])
        for name, value in vars(inputs.conditions).items()
        if isinstance(value, Tensor)
    }
    doubled["keyboard"][1] += 1
    return replace(inputs.conditions, **doubled)


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (1.0, "high_noise_first_person"),
        (BOUNDARY, "high_noise_first_person"),
        (0.89, "low_noise"),
        (0.05, "low_noise"),
    ],
)
@torch.no_grad()
def test_the_velocity_is_the_chosen_experts(experts, inputs, level: float, name: str) -> None:
    first_person = experts.of_view("first_person")
    sigma = at(inputs, level)
    found = first_person.denoise(inputs.latents, sigma, first_person.prepare(inputs.conditions))
    chosen = experts.expert(name)
    expected = chosen.denoise(inputs.latents, sigma, chosen.prepare(inputs.conditions))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_views_differ_in_high_noise_and_share_low_noise(experts, inputs) -> None:
    def velocities(level: float) -> list[Tensor]:
        found = []
        for view in ("first_person", "third_person"):
            asked = experts.of_view(view)
            prepared = asked.prepare(inputs.conditions)
            found.append(asked.denoise(inputs.latents, at(inputs, level), prepared))
        return found

    assert not torch.allclose(*velocities(0.95))
    assert torch.equal(*velocities(0.5))


@torch.no_grad()
def test_a_batch_on_both_sides_is_split_by_sample(experts, inputs) -> None:
    asked = experts.of_view("first_person")
    sigma = torch.cat([at(inputs, 0.3), at(inputs, 0.95)])
    latents = torch.cat([inputs.latents, inputs.latents.flip(2)])
    conditions = twice(inputs)
    together = asked.denoise(latents, sigma, asked.prepare(conditions))
    for row, name in enumerate(("low_noise", "high_noise_first_person")):
        network = experts.expert(name)
        prepared = network.prepare(conditions)  # of both samples: rows do not mix
        alone = network.denoise(latents, sigma, prepared)[row]
        torch.testing.assert_close(together[row], alone, rtol=1e-5, atol=1e-6)


def test_noisy_latents_of_one_sample_on_both_sides_are_refused(experts, inputs) -> None:
    asked = experts.of_view("first_person")
    sigma = at(inputs, 0.95)
    sigma[:, -1] = 0.5
    with pytest.raises(ValueError, match=r"both sides of the boundary 0.9, expected one side"):
        asked.denoise(inputs.latents, sigma, asked.prepare(inputs.conditions))


def test_a_context_is_refused(experts, inputs) -> None:
    asked = experts.of_view("first_person")
    nothing = torch.zeros(1, 0, SHAPE.num_heads, SHAPE.head_dim)
    context = Context(torch.zeros(1, 0, 3), None, [BlockContext(nothing, nothing)])
    with pytest.raises(ValueError, match="keys and values are one transformer's"):
        asked.denoise(inputs.latents, inputs.sigma, asked.prepare(inputs.conditions), context)


@torch.no_grad()
def test_plans_are_made_once_and_let_go_when_the_other_expert_takes_over(experts, inputs) -> None:
    asked = experts.of_view("first_person")
    prepared = asked.prepare(inputs.conditions)
    assert prepared.plans == {}
    asked.denoise(inputs.latents, at(inputs, 1.0), prepared)
    [plan] = prepared.plans.values()
    asked.denoise(inputs.latents, at(inputs, 0.95), prepared)
    assert next(iter(prepared.plans.values())) is plan
    asked.denoise(inputs.latents, at(inputs, 0.5), prepared)
    assert len(prepared.plans) == 1
    assert next(iter(prepared.plans.values())) is not plan


def test_gradients_reach_every_parameter_of_the_experts_that_were_asked(experts, inputs) -> None:
    experts.zero_grad(set_to_none=True)
    first, third = experts.of_view("first_person"), experts.of_view("third_person")
    for asked, level in ((first, 0.95), (first, 0.5)):
        prepared = asked.prepare(inputs.conditions)
        velocity = asked.denoise(inputs.latents, at(inputs, level), prepared)
        velocity[:, :, -SHAPE.segment_latents :].square().mean().backward()
    for name in ("high_noise_first_person", "low_noise"):
        dead = [
            parameter_name
            for parameter_name, parameter in experts.expert(name).named_parameters()
            if parameter.grad is None or not parameter.grad.any()
        ]
        assert dead == [], name
    unasked = experts.expert("high_noise_third_person")
    assert all(parameter.grad is None for parameter in unasked.parameters())
    prepared = third.prepare(twice(inputs))
    sigma = torch.cat([at(inputs, 0.3), at(inputs, 0.95)])
    third.denoise(torch.cat([inputs.latents] * 2), sigma, prepared).square().mean().backward()
    assert all(parameter.grad is not None for parameter in unasked.parameters())


def test_what_is_not_there_is_refused(experts) -> None:
    with pytest.raises(ValueError, match="expert 'high': not known, expected one of high_noise_"):
        experts.expert("high")
    single = NoiseExperts(SHAPE, ExpertsConfig(views=("first_person",)))
    with pytest.raises(ValueError, match=r"view 'third_person': no expert .* of first_person"):
        single.of_view("third_person")
