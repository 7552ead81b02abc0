"""The project's models by name, from two million parameters to two times fourteen billion.

A preset is data: the shape of a transformer, how it samples, which VAE, what camera, and which
weights its training starts from. Large ones derive from one another by named functions. It builds
nothing and knows no data, schedule or machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from worldloom.camera import REFERENCE_KINEMATICS, Intrinsics, Kinematics
from worldloom.config import Config, JsonValue, apply_overrides, parse_config, resolved
from worldloom.diffusion.levels import (
    NUM_TRAIN_TIMESTEPS,
    REFERENCE_SHIFT,
    sampler_levels,
    warped_levels,
)
from worldloom.errors import ConfigError
from worldloom.frames import (
    SegmentFrames,
    segment_table,
)
from worldloom.model.config import TransformerConfig
from worldloom.model.experts_config import ExpertsConfig, expert_shapes
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.reference_window import require_reference_segments

_SMALL_SHIFT = 3.0


class ModelPreset(Config):
    """A model: what it is made of, how it samples, where its training starts."""

    description: str = Field(description="what it is for, in a sentence or two")
    transformer: TransformerConfig = Field(description="shape of the transformer, or of an expert")
    sampler: SamplerConfig = Field(description="few-step sampler of the student")
    base_sampler: SamplerConfig = Field(
        description="many-step sampler of the model it is taught by"
    )
    vae: Literal["small", "wan2.2"] = Field(
        description="small: the project's own, of the transformer's stride and channels; wan2.2: "
        "the public one, stride 16, 48 channels"
    )
    kinematics: Kinematics = Field(description="what an action moves")
    intrinsics: Intrinsics = Field(description="camera of the frames, pixels")
    starts_from: str = Field(description="which weights start its training, in one sentence")
    experts: ExpertsConfig | None = Field(
        None, description="experts by noise level and view; None is one transformer for all levels"
    )

    @model_validator(mode="after")
    def _fits(self) -> ModelPreset:
        if self.experts is not None:
            expert_shapes(self.transformer, self.experts)  # refuses a layout that has no experts
        if self.vae == "small":
            return self
        vae, shape = WanVAEConfig(), self.transformer
        found = (shape.latent_channels, shape.spatial_stride)
        if found != (vae.latent_channels, vae.spatial_stride):
            message = (
                f"latents of {found[0]} channels and stride {found[1]} beside vae 'wan2.2', "
                f"expected {vae.latent_channels} channels and stride {vae.spatial_stride}"
            )
            raise ValueError(message)
        return self


def preset(name: str) -> ModelPreset:
    """Return a preset; raises `ConfigError` listing the known names."""
    if name not in PRESETS:
        message = f"preset {name!r}: not known, expected one of {', '.join(PRESETS)}"
        raise ConfigError(message)
    return PRESETS[name]


def with_overrides(model: ModelPreset, overrides: Iterable[str]) -> ModelPreset:
    """Return the preset with `path=value` overrides of its transformer's shape.

    The camera of another frame size keeps its field of view.

    Raises:
        ConfigError: for an override that does not parse, or a shape that does not fit.
    """
    shape = apply_overrides(model.transformer, overrides)
    height, width = (
        new / old for new, old in zip(shape.frame_size, model.transformer.frame_size, strict=True)
    )
    camera = model.intrinsics
    scaled = Intrinsics(
        fx=camera.fx * width, fy=camera.fy * height, cx=camera.cx * width, cy=camera.cy * height
    )
    values = {"transformer": resolved(shape), "intrinsics": resolved(scaled)}
    return parse_config(ModelPreset, {**resolved(model), **values})


def at_resolution(model: ModelPreset, text: str) -> ModelPreset:
    """Return the preset for frames of `HEIGHTxWIDTH` pixels; its field of view stays.

    Raises:
        ConfigError: for a text that is no resolution, or one that does not divide into tokens.
    """
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        message = f"resolution {text!r}: expected HEIGHTxWIDTH in pixels, such as 704x1280"
        raise ConfigError(message)
    shape = model.transformer.at_resolution(int(height), int(width))
    rows, columns = shape.latent_height, shape.latent_width
    return with_overrides(model, [f"latent_height={rows}", f"latent_width={columns}"])


def segments_of(shape: TransformerConfig, count: int) -> list[SegmentFrames]:
    """Return where the first `count` segments of a shape lie.

    Raises:
        ConfigError: for a reference shape whose segments are not Matrix-Game 3.0's.
    """
    if shape.layout == "stream":
        frames = shape.action_window_frames
        return segment_table(
            count, segment_latents=shape.segment_latents, action_window_frames=frames
        )
    require_reference_segments(shape)
    return segment_table(count)


def streamed(
    reference: TransformerConfig, *, position: Literal["geometry", "panorama"], segment_latents: int
) -> TransformerConfig:
    """Return the stream shape with the blocks of a reference shape, so that its weights fit.

    Committed latents attend within their segment, lengths are metres, and memory older than 32
    latents counts as that old, which is what bounds the age that the rotary embedding must tell.
    """
    return _derived(
        reference,
        layout="stream",
        position=position,
        first_segment_latents=1,
        segment_latents=segment_latents,
        reach="segment",
        translation="metric",
        max_memory_gap=32,
    )


def _derived(shape: TransformerConfig, **changes: JsonValue) -> TransformerConfig:
    return parse_config(TransformerConfig, {**resolved(shape), **changes})


def _trained_sampler(*, shift: float) -> SamplerConfig:
    """Return the warped three-step list that DMD students are trained at."""
    return SamplerConfig(sigmas=warped_levels(timestep_shift=shift).sigmas[:-1], solver="renoise")


def _reference_sampler(
    steps: int, *, guidance_scale: float = 1.0, truncates_timesteps: bool = True
) -> SamplerConfig:
    """Return Matrix-Game 3.0's sampler: UniPC of order 2 at shift 5, whole timesteps."""
    return SamplerConfig(
        sigmas=sampler_levels(steps).sigmas[:-1],
        solver="unipc",
        truncates_timesteps=truncates_timesteps,
        guidance_scale=guidance_scale,
    )


def _even_sampler(steps: int, *, shift: float) -> SamplerConfig:
    """Return evenly spread levels moved by a shift, for following the flow step by step."""
    ids = [NUM_TRAIN_TIMESTEPS * (steps - step) // steps for step in range(steps)]
    return SamplerConfig(sigmas=warped_levels(ids, shift).sigmas[:-1], solver="euler")


# The segments of the reference: 1 + 14 latents first, then 10 new ones beside 4 past and 5 memory.
# Its rotary table has 2,048 places; a memory latent may lie that far before the end of a window.
_REFERENCE = TransformerConfig(
    layout="reference",
    position="lattice",
    is_residual_normed=True,
    rope_jitter=0.8,
    max_memory_gap=2048 - 15,
    has_place_embedding=False,
    first_segment_latents=15,
    segment_latents=10,
    num_past_latents=4,
    num_memory_latents=5,
    memory_refresh_frames=40,  # as often as it adds a segment
    translation="relative",
)

_NANO_REFERENCE = _derived(
    _REFERENCE, num_blocks=6, ffn_dim=512, num_action_blocks=3, num_text_blocks=6
)

_FREEDOOM = TransformerConfig(
    latent_channels=24,
    latent_height=12,
    latent_width=20,
    dim=192,
    num_blocks=6,
    num_heads=6,
    ffn_dim=576,
    num_action_blocks=3,
    action_dim=96,
    num_text_blocks=1,
)

_MG3_5B = _derived(
    _REFERENCE,
    latent_channels=48,
    latent_height=44,
    latent_width=80,
    spatial_stride=16,
    dim=3072,
    num_blocks=30,
    num_heads=24,
    ffn_dim=14336,
    ray_samples=16,
    num_action_blocks=15,
    action_dim=1024,
    action_num_heads=16,
    action_key_dim=128,
    action_rotary_dim=8,
    text="umt5",
    num_text_blocks=30,
    text_dim=4096,
    text_length=512,
)

_MOE_28B = _derived(
    _MG3_5B,
    dim=5120,
    num_blocks=40,
    num_heads=40,
    ffn_dim=13824,
    num_action_blocks=20,
    num_text_blocks=40,
)

_LARGE_CAMERA = Intrinsics.reference(*_MG3_5B.frame_size)

PRESETS: Mapping[str, ModelPreset] = {
    "nano-reference": ModelPreset(
        description="Matrix-Game 3.0's layout at 64x64 pixels, to train and compare on two cores.",
        transformer=_NANO_REFERENCE,
        sampler=_reference_sampler(3),
        base_sampler=_reference_sampler(50),
        vae="small",
        kinematics=Kinematics(),
        intrinsics=Intrinsics.from_fov(*_NANO_REFERENCE.frame_size),
        starts_from="Random weights: flow matching on latents of the small VAE.",
    ),
    "nano-stream": ModelPreset(
        description="64x64 pixels; learns to obey in minutes of a GPU.",
        transformer=TransformerConfig(),
        sampler=SamplerConfig(),
        base_sampler=_even_sampler(20, shift=_SMALL_SHIFT),
        vae="small",
        kinematics=Kinematics(),
        intrinsics=Intrinsics.from_fov(*TransformerConfig().frame_size),
        starts_from="Random weights: teacher-forced flow matching, then distribution matching.",
    ),
    "freedoom": ModelPreset(
        description="96x160 pixels of Freedoom's maps and a procedural maze, as a stream of three "
        "latents a segment; what the starter weights are.",
        transformer=_FREEDOOM,
        sampler=_trained_sampler(shift=_SMALL_SHIFT),
        base_sampler=_even_sampler(20, shift=_SMALL_SHIFT),
        vae="small",
        kinematics=Kinematics(),
        intrinsics=Intrinsics.from_fov(*_FREEDOOM.frame_size),
        starts_from="Random weights, or the starter weights: teacher-forced flow matching, "
        "then distribution matching.",
    ),
    "mg3-5b": ModelPreset(
        description="Matrix-Game 3.0 as published: 704x1280 pixels, 15 latents first, then 10 new "
        "ones a segment beside 4 past and 5 remembered ones.",
        transformer=_MG3_5B,
        sampler=_reference_sampler(3),
        base_sampler=_reference_sampler(50, guidance_scale=5.0),
        vae="wan2.2",
        kinematics=REFERENCE_KINEMATICS,
        intrinsics=_LARGE_CAMERA,
        starts_from="The public Matrix-Game 3.0 weights as they are; or Wan2.2-TI2V-5B for "
        "training, with cameras and actions at their initialisation.",
    ),
    "stream-5b": ModelPreset(
        description="The blocks of mg3-5b as a stream: three latents a segment (or one, with "
        "segment_latents=1), keys and values of committed latents kept.",
        transformer=streamed(_MG3_5B, position="panorama", segment_latents=3),
        sampler=_trained_sampler(shift=REFERENCE_SHIFT),
        base_sampler=_reference_sampler(50, guidance_scale=5.0, truncates_timesteps=False),
        vae="wan2.2",
        kinematics=REFERENCE_KINEMATICS,
        intrinsics=_LARGE_CAMERA,
        starts_from="The reference teacher mg3-5b, every tensor under its own name: "
        "teacher-forced flow matching first, then distribution matching.",
    ),
    "moe-28b": ModelPreset(
        description="Experts by noise level after Matrix-Game 3.0's unpublished 2x14B: two for "
        "high noise (first and third person, with actions), one shared for low noise. Wan2.2-A14B's"
        " numbers: width 5120, 40 blocks, 40 heads, ffn 13824, umT5, boundary 0.9, 40 steps, shift "
        "5, guidance 3.5. Ours: the 48-channel VAE of stride 16 instead of A14B's 16 channels of "
        "stride 8 (880 tokens a latent, not 3,520, and the latents of the 5B models), segments of "
        "mg3-5b, actions in the first 20 blocks, camera injectors in all 40 (4.3 of an expert's "
        "19.1 billion parameters).",
        transformer=_MOE_28B,
        sampler=_reference_sampler(3),
        base_sampler=_reference_sampler(40, guidance_scale=3.5),
        vae="wan2.2",
        kinematics=REFERENCE_KINEMATICS,
        intrinsics=_LARGE_CAMERA,
        starts_from="Wan2.2-A14B's high-noise and low-noise transformers, without their patch "
        "embedding and head, which belong to another VAE; those, cameras and actions are new.",
        experts=ExpertsConfig(),
    ),
}
