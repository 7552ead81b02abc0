"""Presets are found by name, stand by themselves, and are what the specification says they are."""

from __future__ import annotations

import pytest
import torch
from small_presets import lively, scaled_down, seen_context, small_transformer

from worldloom.camera import REFERENCE_KINEMATICS
from worldloom.errors import ConfigError
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import later_segment
from worldloom.model.cost.footprint import footprint, meta_transformer
from worldloom.presets import (
    PRESETS,
    ModelPreset,
    at_resolution,
    preset,
    segments_of,
    streamed,
    with_overrides,
)
from worldloom.rollout.config import SamplerConfig

NAMES = ["nano-reference", "nano-stream", "freedoom", "mg3-5b", "stream-5b", "moe-28b"]


def test_the_presets_are_those_of_the_specification() -> None:
    assert list(PRESETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_survives_its_own_rules(name: str) -> None:
    model = preset(name)
    assert model == ModelPreset.model_validate(model.model_dump())
    assert model.starts_from.endswith(".")
    height, width = model.transformer.frame_size
    assert (model.intrinsics.cy, model.intrinsics.cx) == (height / 2, width / 2)


def test_an_unknown_preset_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="preset 'nano': not known, expected one of nano-ref"):
        preset("nano")


def test_the_starter_weights_preset_is_there() -> None:
    assert preset("nano-stream").transformer == TransformerConfig()
    assert preset("nano-stream").sampler == SamplerConfig()


@pytest.mark.slow
def test_the_public_model_is_what_was_published() -> None:
    shape = preset("mg3-5b").transformer
    counted = footprint(shape)
    assert counted.parameters.core == pytest.approx(5.000e9, rel=1e-3)
    assert counted.parameters.camera == pytest.approx(1.1706e9, rel=1e-3)
    assert counted.parameters.action == pytest.approx(0.300e9, rel=5e-3)
    assert counted.tokens_per_latent_frame == 880
    assert (shape.frame_size, shape.head_dim) == ((704, 1280), 128)
    blocks = list(meta_transformer(shape).blocks)
    assert [block.actions is not None for block in blocks] == [True] * 15 + [False] * 15
    assert all(block.cross_attn is not None for block in blocks)
    assert (shape.rope_jitter, shape.max_memory_gap) == (0.8, 2033)
    assert (shape.is_residual_normed, shape.position, shape.has_place_embedding) == (
        True,
        "lattice",
        False,
    )
    assert preset("mg3-5b").kinematics == REFERENCE_KINEMATICS


def test_the_students_of_the_reference_are_told_its_three_timesteps() -> None:
    sampler = preset("mg3-5b").sampler
    assert [int(1000 * sigma) for sigma in sampler.sigmas] == [999, 908, 713]
    assert (sampler.solver, sampler.truncates_timesteps) == ("unipc", True)
    base = preset("mg3-5b").base_sampler
    assert (len(base.sigmas), base.guidance_scale) == (50, 5.0)
    warped = [1000 * sigma for sigma in preset("stream-5b").sampler.sigmas]
    assert warped == pytest.approx([1000, 909.2, 714.0], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), [("nano-reference", 2.4), ("freedoom", 4.24)])
def test_small_presets_have_their_size(name: str, millions: float) -> None:
    total = footprint(preset(name).transformer).parameters.total
    assert total == pytest.approx(millions * 1e6, rel=0.05)


def test_the_stream_of_a_reference_has_its_tensors() -> None:
    reference, stream = (
        meta_transformer(preset(name).transformer).state_dict() for name in ("mg3-5b", "stream-5b")
    )
    assert {name: tensor.shape for name, tensor in reference.items()} == {
        name: tensor.shape for name, tensor in stream.items()
    }


def test_a_stream_keeps_the_blocks_and_leaves_the_lattice() -> None:
    reference = preset("nano-reference").transformer
    stream = streamed(reference, position="panorama", segment_latents=3)
    assert (stream.layout, stream.position, stream.translation) == ("stream", "panorama", "metric")
    same = ("dim", "num_blocks", "num_heads", "ffn_dim", "is_residual_normed", "rope_jitter")
    assert all(vars(stream)[name] == vars(reference)[name] for name in same)


def test_segments_of_one_latent_are_an_override_away() -> None:
    single = with_overrides(preset("stream-5b"), ["segment_latents=1"])
    assert single.transformer.segment_latents == 1
    assert single.model_copy(update={"transformer": preset("stream-5b").transformer}) == preset(
        "stream-5b"
    )


def test_another_frame_size_keeps_its_field_of_view() -> None:
    small = with_overrides(preset("mg3-5b"), ["latent_height=22", "latent_width=40"])
    whole = preset("mg3-5b").intrinsics
    assert small.intrinsics.fx == whole.fx / 2
    assert small.intrinsics.cy == whole.cy / 2


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("latent_height=45", "latent 45x80 is not a multiple of patch_size 2"),
        ("latent_channels=16", "latents of 16 channels and stride 16 beside vae 'wan2.2'"),
        ("width=3", "no such setting"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        with_overrides(preset("mg3-5b"), [override])


def test_experts_in_the_stream_layout_are_refused() -> None:
    values = preset("moe-28b").model_dump()
    values["transformer"] = preset("stream-5b").transformer
    with pytest.raises(ValueError, match="expected layout 'reference'"):
        ModelPreset.model_validate(values)


def test_segments_lie_where_the_layout_says() -> None:
    reference = segments_of(preset("nano-reference").transformer, 2)
    assert reference == segments_of(preset("mg3-5b").transformer, 2)
    assert [(each.end_frame, each.num_new_frames) for each in reference] == [(57, 57), (97, 40)]
    stream = segments_of(preset("stream-5b").transformer, 2)
    assert [(each.first_latent, each.last_latent) for each in stream] == [(1, 3), (4, 6)]


def test_reference_segments_of_another_length_are_refused() -> None:
    longer = with_overrides(preset("mg3-5b"), ["segment_latents=12"]).transformer
    with pytest.raises(ConfigError, match=r"segment_latents=12: the reference.* expected .*=10"):
        segments_of(longer, 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "moe-28b"])
def test_gradients_reach_every_parameter(name: str) -> None:
    shape = scaled_down(preset(name).transformer)
    transformer = small_transformer(shape)
    inputs = lively(later_segment(shape), shape)
    context = seen_context(transformer) if shape.layout == "stream" else None
    prepared = transformer.prepare(inputs.conditions)
    velocity = transformer.denoise(inputs.latents, inputs.sigma, prepared, context)
    target = torch.randn(velocity.shape, generator=torch.Generator().manual_seed(9))
    (velocity - target)[:, :, -shape.segment_latents :].square().mean().backward()
    dead = [
        parameter_name
        for parameter_name, parameter in transformer.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert dead == []


def test_another_resolution_keeps_the_field_of_view():
    small = at_resolution(preset("mg3-5b"), "352x640")
    assert small.transformer.frame_size == (352, 640)
    assert small.intrinsics.cx / small.intrinsics.fx == pytest.approx(1.0)
    assert small.intrinsics.cy / small.intrinsics.fy == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["720x1280", "704", "704x", "x1280", "704x1280x3", "-704x1280"])
def test_what_is_no_resolution_of_whole_tokens_is_refused(text):
    with pytest.raises(ConfigError, match=f"resolution .*{text}"):
        at_resolution(preset("mg3-5b"), text)
