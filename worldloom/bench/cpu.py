"""What a small preset does in real time on a CPU: from an action to the encoded frame.

Weights are random (a seed's), so pictures mean nothing; shapes, and so times, are the preset's. The
ways to run it take turns, a few segments each, so that whatever disturbs the machine disturbs them
alike. It does not know how a report is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from worldloom.bench.live import Play, PlayedSegment
from worldloom.bench.record import Bar, BenchReport, Measurement, measured, this_machine
from worldloom.bench.rollout import random_world
from worldloom.config import Config
from worldloom.memory.config import BankConfig
from worldloom.presets import ModelPreset
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import WorldModel

LEAST_FRAMES_PER_SECOND = 30.0
_CPU = torch.device("cpu")
_FULL_AFTER_SEGMENTS = 8


class CpuBenchConfig(Config):
    """How long is played."""

    num_turns: int = Field(10, ge=1, description="turns of each way that count")
    segments_a_turn: int = Field(4, ge=1, description="segments of each turn")
    jpeg_quality: int = Field(95, ge=1, le=100, description="quality of the encoded frames")
    seed: int = Field(0, ge=0, description="seed of weights, noise and the way")


def _plain(model: WorldModel) -> WorldModel:
    return model


def _plain_in_int8(model: WorldModel) -> WorldModel:
    assert isinstance(model.transformer, torch.nn.Module), "a preset's own transformer"
    quantize_linears(model.transformer, QuantizeLinearsConfig())
    return model


def _in_bfloat16(model: WorldModel) -> WorldModel:
    assert isinstance(model.transformer, torch.nn.Module), "a preset's own transformer"
    model.transformer.to(torch.bfloat16)
    return make_fast(model, RealtimeConfig()).model


def _in_int8(model: WorldModel) -> WorldModel:
    return make_fast(model, RealtimeConfig(linears="int8")).model


WAYS: Mapping[str, Callable[[WorldModel], WorldModel]] = {
    "plain passes, float32": _plain,
    "plain passes, INT8 (a release as it is loaded)": _plain_in_int8,
    "fast passes, bfloat16": _in_bfloat16,
    "fast passes, INT8": _in_int8,
}


def measure_cpu(config: CpuBenchConfig, preset: ModelPreset, command: str) -> BenchReport:
    """Play a stream preset on this machine's CPU, each way in turns."""
    plays = {name: _play(config, preset, way) for name, way in WAYS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in plays}
    for play in plays.values():
        play.play(0.0, least_segments=_FULL_AFTER_SEGMENTS)
    for _ in range(config.num_turns):
        for name, play in plays.items():
            seconds[name].append(_seconds(play.play(0.0, least_segments=config.segments_a_turn)))
    for play in plays.values():
        play.close()
    frames = preset.transformer.segment_frames
    times = [measured(name, "ms", [1e3 * one for one in s]) for name, s in seconds.items()]
    return BenchReport(
        title="Real time on a CPU",
        command=command,
        notes=(
            f"Weights are random; {frames} frames a segment of "
            f"{'x'.join(map(str, preset.transformer.frame_size))} pixels; a figure is a turn's "
            "time, from the first action to the last encoded frame, by its "
            f"{config.segments_a_turn} segments.",
            *(f"{time.name}: {_rate(time, frames):.1f} frames a second." for time in times),
        ),
        machine=this_machine(_CPU),
        measurements=tuple(times),
        bars=(
            Bar(
                name="frames a second of the fastest, action to encoded frame",
                value=max(_rate(time, frames) for time in times),
                limit=LEAST_FRAMES_PER_SECOND,
                sense="at least",
            ),
        ),
    )


def _play(
    config: CpuBenchConfig, preset: ModelPreset, way: Callable[[WorldModel], WorldModel]
) -> Play:
    model = random_world(preset.transformer, BankConfig(), config.seed, _CPU)
    model = way(replace(model, sampler=preset.sampler, kinematics=preset.kinematics))
    generator = np.random.default_rng(config.seed)
    image = generator.integers(0, 256, (*model.frame_size, 3), dtype=np.uint8)
    session = WorldSession(model, image=image, prompt="a long walk", seed=config.seed)
    return Play(session, config.jpeg_quality, num_encoders=1, seed=config.seed)


def _seconds(turn: list[PlayedSegment]) -> float:
    """Return the seconds a segment of a turn, from the first's beginning to the last frame."""
    return (turn[-1].all_encoded - turn[0].begun) / len(turn)


def _rate(time: Measurement, frames: int) -> float:
    return frames / (time.median / 1e3)
