"""Needs follow from shapes, and a GPU holds exactly what its plan says, or is refused."""

from __future__ import annotations

import pytest

from worldloom.errors import MachineError
from worldloom.model.cost.footprint import footprint
from worldloom.model.cost.memory_plan import (
    GIB,
    RESERVE_BYTES,
    gpu_plan,
    memory_needs,
    require_memory,
    weight_formats,
)
from worldloom.presets import preset

STREAM = preset("nano-stream").transformer
REFERENCE = preset("nano-reference").transformer
MOE = preset("moe-28b")


@pytest.mark.parametrize("shape", [STREAM, REFERENCE], ids=["stream", "reference"])
def test_bytes_of_weights_follow_from_parameters(shape) -> None:
    total = footprint(shape).parameters.total
    weights = memory_needs(shape).weights
    assert (weights.fp32, weights.bf16, weights.bf16_one_expert) == (
        4 * total,
        2 * total,
        2 * total,
    )


def test_eight_bit_layers_save_a_byte_a_weight_and_keep_a_scale_a_row() -> None:
    weights = memory_needs(STREAM, is_int8=lambda name: name == "blocks.0.ffn.0").weights
    rows = STREAM.ffn_dim
    assert weights.int8 == weights.bf16 - STREAM.dim * rows + 4 * rows


def test_keys_and_values_are_kept_in_a_stream_alone() -> None:
    cached = memory_needs(STREAM).kv_cache
    assert cached.per_latent == 2 * 2 * STREAM.num_blocks * 16 * STREAM.dim
    assert cached.per_context == 9 * cached.per_latent
    assert memory_needs(REFERENCE).kv_cache.per_context == 0


def test_plans_hold_a_scale_and_a_shift_of_every_token_in_every_block() -> None:
    shape = preset("mg3-5b").transformer
    plans = memory_needs(shape).plans
    tokens = 19 * 880
    cameras = shape.num_blocks * 2 * tokens * shape.dim * 2
    prompts = shape.num_blocks * 2 * 512 * shape.dim * 2
    rotations = 2 * tokens * shape.num_heads * shape.head_dim // 2 * 4
    held = cameras + prompts + rotations
    assert held <= plans <= 1.001 * held


def test_activations_are_a_few_tensors_of_a_block_not_of_all() -> None:
    shape = preset("mg3-5b").transformer
    residual = 19 * 880 * shape.dim * 2
    hidden = 19 * 880 * shape.ffn_dim * 2
    activations = memory_needs(shape).activations
    assert residual + 2 * hidden <= activations <= 20 * residual


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_a_gpu_of_just_what_is_needed_holds_one_session_and_its_segment(weights) -> None:
    needs = memory_needs(STREAM)
    needed = needs.total(weights)
    exact = gpu_plan(STREAM, needs, needed, weights)
    assert (exact.fits, exact.num_sessions, exact.largest_segment_latents) == (True, 1, 3)
    short = gpu_plan(STREAM, needs, needed - 1, weights)
    assert (short.fits, short.num_sessions, short.largest_segment_latents) == (False, 0, 2)
    two = gpu_plan(STREAM, needs, needed + needs.kv_cache.per_context, weights)
    assert two.num_sessions == 2


@pytest.mark.slow
@pytest.mark.parametrize("shape", [STREAM, REFERENCE], ids=["stream", "reference"])
def test_the_largest_segment_fits_and_a_longer_one_does_not(shape) -> None:
    gpu_bytes = RESERVE_BYTES + (24 << 20)
    plan = gpu_plan(shape, memory_needs(shape), gpu_bytes, "bf16")
    assert plan.largest_segment_latents > shape.segment_latents
    for more, fits in ((0, True), (1, False)):
        latents = plan.largest_segment_latents + more
        longer = shape.model_copy(update={"segment_latents": latents})
        assert (memory_needs(longer).total("bf16") <= gpu_bytes) == fits


def test_a_gpu_that_is_too_small_is_refused_with_what_was_expected() -> None:
    shape = preset("mg3-5b").transformer
    with pytest.raises(MachineError) as caught:
        require_memory(shape, 16 * GIB, name="mg3-5b", weights="bf16")
    sentence = str(caught.value)
    assert sentence.startswith("mg3-5b: needs 21.8 GiB of GPU memory (bf16 weights 12.1")
    assert sentence.endswith("the GPU has 16.0 GiB, expected at least 21.8 GiB")
    require_memory(shape, 16 * GIB, name="mg3-5b")  # in 8 bits it fits
    require_memory(shape, 22 * GIB, name="mg3-5b", weights="bf16")


def test_sessions_count_when_a_gpu_is_judged() -> None:
    shape = preset("stream-5b").transformer
    require_memory(shape, 24 * GIB, name="stream-5b", weights="bf16", num_sessions=2)
    with pytest.raises(MachineError, match=r"keys and values of 3 session\(s\) 8.2"):
        require_memory(shape, 23 * GIB, name="stream-5b", weights="bf16", num_sessions=3)


@pytest.mark.slow
def test_of_experts_two_are_at_hand_or_one() -> None:
    weights = memory_needs(MOE.transformer, experts=MOE.experts).weights
    high = footprint(MOE.transformer).parameters
    low_total = high.total - high.action
    assert weights.bf16 == 2 * (high.total + low_total)
    assert weights.bf16_one_expert == 2 * high.total
    assert "bf16_one_expert" in weight_formats(MOE.experts)
    assert weight_formats() == ("bf16", "int8")
