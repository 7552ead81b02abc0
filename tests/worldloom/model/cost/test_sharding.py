"""Sharding plans are closed forms over parameters, and the fewest GPUs are just enough."""

from __future__ import annotations

import pytest

from worldloom.model.cost.footprint import footprint
from worldloom.model.cost.memory_plan import GIB, RESERVE_BYTES
from worldloom.model.cost.sharding import Sizes, model_sizes, sharding_plan, smallest_plans
from worldloom.presets import preset

SIZES = Sizes(trained=1000, largest_block=10, resident=1900, largest_resident=1000)


def test_one_gpu_holds_all_and_gathers_nothing() -> None:
    plan = sharding_plan(SIZES, 1)
    assert plan.training_bytes == 16 * 1000
    assert plan.inference_bytes == 2 * 1900
    assert plan.offloaded_inference_bytes == 2 * 1000


@pytest.mark.parametrize("num_gpus", [2, 4, 8])
def test_many_gpus_hold_a_piece_each_and_two_whole_blocks(num_gpus: int) -> None:
    plan = sharding_plan(SIZES, num_gpus)
    assert plan.training_bytes == 16 * 1000 / num_gpus + 2 * 2 * 10
    assert plan.inference_bytes == 2 * 1900 / num_gpus + 2 * 2 * 10
    assert plan.offloaded_inference_bytes == 2 * 1000 / num_gpus + 2 * 2 * 10


def test_pieces_that_do_not_divide_are_rounded_up() -> None:
    odd = Sizes(trained=1001, largest_block=1, resident=1001, largest_resident=1001)
    assert sharding_plan(odd, 3).training_bytes == 5339 + 4


def test_no_gpu_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="num_gpus=0: expected at least 1"):
        sharding_plan(SIZES, 0)


def test_the_fewest_gpus_are_enough_and_one_less_is_not() -> None:
    model = preset("moe-28b")
    sizes = model_sizes(model.transformer, model.experts)
    running = 16 * GIB
    fewest = smallest_plans(sizes, 80 * GIB, running)
    assert (fewest.training, fewest.inference, fewest.offloaded_inference) == (4, 2, 1)
    room = 80 * GIB - RESERVE_BYTES
    assert sharding_plan(sizes, 4).training_bytes <= room < sharding_plan(sizes, 3).training_bytes
    assert sharding_plan(sizes, 2).inference_bytes <= room - running
    assert sharding_plan(sizes, 1).inference_bytes > room - running


def test_a_gpu_without_room_for_a_block_is_never_enough() -> None:
    fewest = smallest_plans(SIZES, RESERVE_BYTES + 39, 0)
    assert (fewest.training, fewest.inference, fewest.offloaded_inference) == (None, None, None)


@pytest.mark.slow
def test_sizes_are_those_of_the_largest_expert_and_of_a_session() -> None:
    model = preset("moe-28b")
    sizes = model_sizes(model.transformer, model.experts)
    high = footprint(model.transformer).parameters
    assert sizes.trained == sizes.largest_resident == high.total
    assert sizes.resident == 2 * high.total - high.action
    one = model_sizes(preset("mg3-5b").transformer)
    assert one.trained == one.resident == one.largest_resident
