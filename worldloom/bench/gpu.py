"""What a large preset does in real time on one GPU: parts, whole, and one thing off at a time.

Weights are random (a seed's), so pictures mean nothing; shapes, and so times, are the preset's.
The decoder lacks 75 % of its channels. The whole is played (`live`): from an action to the encoded
frame that obeys it. Rates set the model's own count of operations beside measured time. It does not
know how a report is written.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from worldloom.bench.gpu_machine import require_lone_gpu, software_note
from worldloom.bench.gpu_parts import (
    Repeats,
    decode_time,
    encode_time,
    pass_times,
    session_times,
    velocity_of,
)
from worldloom.bench.gpu_report import (
    ALL_ON,
    FULL_LINEARS,
    PLAIN,
    TWO_STEPS,
    Floors,
    Played,
    ablation_table,
    bars_of,
    minutes_table,
    notes_of,
    parity_note,
    rate_of,
)
from worldloom.bench.live import LiveSession, Play
from worldloom.bench.model import random_inputs
from worldloom.bench.record import BenchReport, Measurement, this_machine
from worldloom.bench.rollout import random_world
from worldloom.config import Config, JsonValue
from worldloom.errors import ConfigError
from worldloom.memory.config import BankConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import later_segment
from worldloom.model.cost.footprint import footprint
from worldloom.model.cost.memory_plan import require_memory
from worldloom.model.vae.video_vae import VAEDecoder, VAEEncoder
from worldloom.model.vae.wan_vae import WanVAEDecoder, WanVAEEncoder
from worldloom.presets import ModelPreset
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.reference_session import ReferenceSession
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import WorldModel

_ONE_OFF: Mapping[str, Mapping[str, JsonValue]] = {
    ALL_ON: {},
    "linear layers in INT8": {"linears": "int8"},
    FULL_LINEARS: {"linears": "full"},
    "attention in bf16": {"attention": "full"},
    "linear layers and attention in bf16": {"linears": "full", "attention": "full"},
    "no graphs": {"captures_graphs": False},
    "decoder not compiled": {"compiles_decoder": False},
    "decoding in between": {"decodes_beside": False},
}
_SHARE_REPEATED = 3  # one block in three, in the middle


Encoder = VAEEncoder | WanVAEEncoder
Decoder = VAEDecoder | WanVAEDecoder

# By then a session's context is full and every shape was seen, so that nothing is built any more.
_FULL_AFTER_SEGMENTS = {"stream": 8, "reference": 3}


class GpuBenchConfig(Config):
    """How long is played and how often each part runs."""

    play_seconds: float = Field(120.0, gt=0, description="time that is played and counted")
    warmup_seconds: float = Field(15.0, ge=0, description="time that is played before")
    ablation_seconds: float = Field(
        0.0, ge=0, description="time that each row of the ablation is played; 0 leaves it out"
    )
    ablation_rows: tuple[str, ...] = Field(
        (), description="rows that the ablation is made of, after the one with all on; none is all"
    )
    num_samples: int = Field(20, ge=1, description="timed runs of each part")
    num_warmup: int = Field(5, ge=0, description="runs of each part thrown away first")
    jpeg_quality: int = Field(95, ge=1, le=100, description="quality of the encoded frames")
    num_encoders: int = Field(8, ge=1, description="threads that encode")
    num_threads: int = Field(
        1,
        ge=1,
        description="torch threads of the host, as of a server's process; its arithmetic is small, "
        "and more would wait for threads that encode, or for another process's",
    )
    seed: int = Field(0, ge=0, description="seed of weights, noise and the way")
    realtime: RealtimeConfig = Field(
        RealtimeConfig(cached_latents=128), description="how the model is run"
    )


def measure_gpu(
    config: GpuBenchConfig,
    preset: ModelPreset,
    floors: Floors,
    device: torch.device,
    command: str,
) -> BenchReport:
    """Measure a preset on a GPU that nothing else uses.

    Raises:
        MachineError: for no GPU, a small one, or one that others use.
    """
    shape = preset.transformer
    require_memory(shape, require_lone_gpu(device), name="model", weights="bf16")
    torch.set_num_threads(config.num_threads)
    world = World(config, preset, device)
    model = world.fresh()
    inputs = random_inputs(
        later_segment, shape, torch.Generator(device).manual_seed(config.seed + 1)
    )
    expected = velocity_of(model, inputs)
    fast = make_fast(model, config.realtime)
    parity = parity_note(expected, velocity_of(fast.model, inputs))
    del model, inputs, expected
    world.keep_vae(fast.model)
    parts = _parts(config, fast.model)
    torch.cuda.reset_peak_memory_stats(device)
    played = _play(config, fast.model, config.warmup_seconds, config.play_seconds)
    peak = torch.cuda.max_memory_allocated(device)
    choices = fast.choices
    del fast
    rows = _ablate(config, world) if config.ablation_seconds else []
    denoise = next(part for part in parts if part.name == "denoise step")
    evaluation = footprint(shape).flops_by_pass.evaluation
    return BenchReport(
        title=f"Real time on one GPU, {shape.segment_latents} latents a segment",
        command=command,
        notes=(
            *notes_of(played, peak, choices),
            parity,
            software_note(),
            rate_of(denoise, evaluation),
        ),
        machine=this_machine(device),
        measurements=(*parts, *played.measurements),
        bars=bars_of(played, floors, denoise, evaluation, rows),
        tables=(
            *([minutes_table(played)] if played.minutes else []),
            *([ablation_table(rows)] if rows else []),
        ),
    )


class World:
    """Makes the preset's model anew, since making it fast converts its layers."""

    def __init__(self, config: GpuBenchConfig, preset: ModelPreset, device: torch.device) -> None:
        """Take a preset; nothing is allocated yet."""
        self._config = config
        self._preset = preset
        self._device = device
        self._vae: tuple[Encoder, Decoder] | None = None
        self.shape = preset.transformer

    def keep_vae(self, model: WorldModel) -> None:
        """Let later models have this one's VAE, whose decoder took long to compile."""
        self._vae = model.encoder, model.decoder

    def fresh(self, *, with_fast_decoder: bool = True, num_steps: int | None = None) -> WorldModel:
        """Return the model; what others left on the device is given up first."""
        gc.collect()
        torch.cuda.empty_cache()
        preset = self._preset
        model = random_world(preset.transformer, BankConfig(), self._config.seed, self._device)
        sampler = preset.sampler
        if num_steps is not None:
            sampler = SamplerConfig.model_validate(
                sampler.model_dump() | {"sigmas": sampler.sigmas[:num_steps]}
            )
        model = replace(model, sampler=sampler, kinematics=preset.kinematics)
        if self._vae is None or not with_fast_decoder:
            return model
        encoder, decoder = self._vae
        return replace(model, encoder=encoder, decoder=decoder)


def _parts(config: GpuBenchConfig, model: WorldModel) -> tuple[Measurement, ...]:
    repeats = Repeats(config.num_samples, config.num_warmup)
    shape = model.transformer.config
    generator = torch.Generator(model.device).manual_seed(config.seed)
    with torch.inference_mode():
        passes = pass_times(model, lambda build: random_inputs(build, shape, generator), repeats)
        size = (shape.latent_height, shape.latent_width)
        latents = torch.randn(
            1, shape.latent_channels, shape.segment_latents, *size, device=model.device
        )
        decoded = decode_time(model, latents, repeats)
    of_session: tuple[Measurement, ...] = ()
    if shape.layout == "stream":
        session = session_of(config, model)
        assert isinstance(session, WorldSession), "a stream is walked by a world session"
        with torch.inference_mode():
            play = Play(session, config.jpeg_quality, config.num_encoders, config.seed)
            play.play(0.0, least_segments=full_after(model))
            play.close()
            of_session = session_times(session, repeats)
        session.close()
    encoded = encode_time(model, config.jpeg_quality, repeats, config.seed)
    return (*passes, decoded, *of_session, encoded)


def full_after(model: WorldModel) -> int:
    """Return the segments after which all that follow are alike."""
    return _FULL_AFTER_SEGMENTS[model.transformer.config.layout]


def session_of(config: GpuBenchConfig, model: WorldModel) -> WorldSession | ReferenceSession:
    """Begin a walk of a model's kind at an image of noise."""
    generator = np.random.default_rng(config.seed)
    image = generator.integers(0, 256, (*model.frame_size, 3), dtype=np.uint8)
    kind = WorldSession if model.transformer.config.layout == "stream" else ReferenceSession
    return kind(model, image=image, prompt="a long walk", seed=config.seed)


def _play(config: GpuBenchConfig, model: WorldModel, warmup: float, seconds: float) -> Played:
    """Play a new session: past its first segments, then warm-up, then what counts."""
    session = session_of(config, model)
    player: LiveSession = session
    play = Play(player, config.jpeg_quality, config.num_encoders, config.seed)
    num_warmup = len(play.play(warmup, least_segments=full_after(model)))
    played = Played(tuple(play.play(seconds)), num_warmup)
    play.close()
    session.close()
    return played


def _ablate(config: GpuBenchConfig, world: World) -> Sequence[tuple[str, Played]]:
    """Play with one thing off at a time, with all of it off, and with each option."""
    changed = {**_ONE_OFF, **_options(world.shape)}
    names = [*changed, PLAIN, TWO_STEPS]
    asked = {ALL_ON, *(config.ablation_rows or names)}
    if not asked <= set(names):
        message = f"ablation_rows {config.ablation_rows}: expected some of {', '.join(names)}"
        raise ConfigError(message)
    rows = []
    for name in (name for name in names if name in asked):
        values = config.realtime.model_dump() | dict(changed.get(name, {}))
        realtime = RealtimeConfig.model_validate(values)
        model = world.fresh(
            with_fast_decoder=realtime.compiles_decoder and name != PLAIN,
            num_steps=2 if name == TWO_STEPS else None,
        )
        made = model if name == PLAIN else make_fast(model, realtime).model
        rows.append((name, _short_play(config, made)))
        del model, made
    return rows


def _options(shape: TransformerConfig) -> Mapping[str, Mapping[str, JsonValue]]:
    """Return what changes the student, by name."""
    third = shape.num_blocks // _SHARE_REPEATED
    options: dict[str, Mapping[str, JsonValue]] = {
        f"option: later steps repeat the say of {third} of {shape.num_blocks} blocks": {
            "reused_blocks": [third, 2 * third]
        }
    }
    if shape.layout == "stream":
        options["option: keys and values of the last step"] = {"commits_last_step": True}
    return options


def _short_play(config: GpuBenchConfig, model: WorldModel) -> Played:
    return _play(config, model, config.ablation_seconds, config.ablation_seconds)
