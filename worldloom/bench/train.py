"""How well training uses a device: model FLOPs utilisation (MFU), time waited for data.

A transformer of any preset's shape learns random latents with the library's own learner, prefetch
and precision, so times, bytes and operations are a training's and the loss means nothing. MFU
counts three forwards a step by the model's own count, whatever is computed twice to save memory.
It does not know real data or how a report is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from worldloom.bench.kernels import kernel_table, kernel_times
from worldloom.bench.model import random_inputs
from worldloom.bench.record import Bar, BenchReport, Table, measured, this_machine
from worldloom.config import Config
from worldloom.diffusion.schedule import add_noise
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import DryRun, later_segment
from worldloom.model.cost.footprint import footprint
from worldloom.model.transformer import WorldModelTransformer
from worldloom.train.config import LearnerConfig
from worldloom.train.learner import Learner
from worldloom.train.prefetch import Prefetch
from worldloom.train.run_control import step_generator
from worldloom.train.speed import BACKWARD_AND_FORWARD, peak_flops
from worldloom.train.velocity import checkpoint_blocks, compile_blocks

LEAST_MFU = 0.40
MOST_DATA_WAIT = 0.02
_TERA, _GIB = 1e12, 1 << 30


class TrainBenchConfig(Config):
    """How a training step is run, and how often."""

    num_samples: int = Field(20, ge=1, description="timed steps")
    num_warmup: int = Field(5, ge=1, description="steps before, compilation among them")
    num_clips: int = Field(8, ge=1, description="random clips that batches are drawn from")
    num_segments: int = Field(1, ge=1, description="segments of a step")
    num_profiled: int = Field(
        0, ge=0, description="steps after the timed ones whose kernels are told by kind (GPU)"
    )
    compiles: bool = Field(False, description="blocks as fused kernels")
    checkpoint_activations: bool = Field(
        False, description="compute a block's activations again in the backward"
    )
    learner: LearnerConfig = Field(
        LearnerConfig(learning_rate=1e-5, precision="bf16"), description="how weights are updated"
    )
    seed: int = Field(0, ge=0, description="seed of weights and batches")


class RandomSegments:
    """Batches for the velocity of later segments: latents of random clips, noise and levels."""

    def __init__(self, config: TrainBenchConfig, latents: Tensor) -> None:
        """Draw the clips, each of the size of `latents` [B, C, T, H, W]."""
        generator = step_generator(config.seed, -1)
        self._clips = torch.randn(
            (config.num_clips, *latents.shape[1:]), generator=generator
        ).half()
        self._num_segments = config.num_segments

    def draw(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents and noise [B, C, T, H, W] and levels [B], as a data set's loader does."""
        del step
        count = self._num_segments
        x0 = self._clips[torch.randint(0, len(self._clips), (count,), generator=generator)].float()
        batch = (
            x0,
            torch.randn(x0.shape, generator=generator),
            torch.rand(count, generator=generator),
        )
        if torch.cuda.is_available():
            return batch[0].pin_memory(), batch[1].pin_memory(), batch[2].pin_memory()
        return batch


@dataclass
class _Trained:
    """What the steps train, and on what."""

    config: TrainBenchConfig
    transformer: WorldModelTransformer
    learner: Learner
    inputs: DryRun

    def step(self, batch: object) -> None:
        """Take a step and wait for it."""
        self.learner.step(
            self.learner.compute(partial(_loss, self.transformer, self.inputs, batch))
        )
        if self.learner.device.type == "cuda":
            torch.cuda.synchronize(self.learner.device)


def measure_train(
    config: TrainBenchConfig,
    shape: TransformerConfig,
    device: torch.device,
    command: str,
    report: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Train for some steps and say how well the device was used.

    Args:
        config: how, and how often.
        shape: the transformer's.
        device: where it trains.
        command: what measures it again.
        report: told step and number of steps.
    """
    trained = _start(config, shape, device)
    seconds, waits, tables = _steps(trained, report)
    counts = footprint(shape)
    flops = BACKWARD_AND_FORWARD * counts.flops_per_forward * config.num_segments
    tokens = counts.tokens.later_segment * config.num_segments
    peak = peak_flops(device)
    warm = config.num_warmup
    step = measured("step", "ms", [1e3 * s for s in seconds], num_warmup=warm)
    mfu = flops / (step.median / 1e3) / peak if peak else 0.0
    wait = sum(waits[warm:]) / sum(seconds[warm:])
    measurements = [
        step,
        measured("data wait", "ms", [1e3 * w for w in waits], num_warmup=warm),
        measured("tokens", "a second", [tokens / s for s in seconds], num_warmup=warm),
        measured("rate", "TFLOP/s", [flops / s / _TERA for s in seconds], num_warmup=warm),
    ]
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device) / _GIB
        measurements.append(measured("memory allocated at most", "GiB", [memory]))
    return BenchReport(
        title=f"A training step of {counts.parameters.total / 1e9:.3g} B parameters",
        command=command,
        notes=_notes(config, shape, flops / (step.median / 1e3), peak, mfu, wait),
        machine=this_machine(device),
        measurements=tuple(measurements),
        bars=() if device.type == "cpu" else _bars(mfu, wait),
        tables=tables,
    )


def _start(config: TrainBenchConfig, shape: TransformerConfig, device: torch.device) -> _Trained:
    torch.manual_seed(config.seed)
    with device:
        transformer = WorldModelTransformer(shape)
    build = partial(later_segment, batch=config.num_segments)
    inputs = random_inputs(build, shape, torch.Generator(device).manual_seed(config.seed))
    if config.compiles:
        compile_blocks(transformer)
    if config.checkpoint_activations:
        checkpoint_blocks(transformer)
    return _Trained(config, transformer, Learner(transformer, config.learner), inputs)


def _steps(
    trained: _Trained, report: Callable[[int, int], None] | None
) -> tuple[list[float], list[float], tuple[Table, ...]]:
    """Return the seconds of each step, those that it waited for its batch, and the kernels'."""
    config, device = trained.config, trained.learner.device
    timed = config.num_warmup + config.num_samples
    profiled = config.num_profiled if device.type == "cuda" else 0
    segments = RandomSegments(config, trained.inputs.latents)
    seconds: list[float] = []
    waits: list[float] = []
    tables: list[Table] = []
    with Prefetch(
        segments.draw,
        lambda step: step_generator(config.seed, step),
        range(timed + profiled),
        num_ahead=2,
    ) as batches:
        for step in range(timed):
            started = time.perf_counter()
            drawn = batches.take()
            trained.step(drawn.batch)
            seconds.append(time.perf_counter() - started)
            waits.append(drawn.wait_seconds)
            if report is not None:
                report(step + 1, timed)
        if profiled:
            times = kernel_times(lambda: trained.step(batches.take().batch), profiled)
            tables.append(kernel_table(times))
    return seconds, waits, tuple(tables)


def _loss(transformer: WorldModelTransformer, inputs: DryRun, batch: object) -> Tensor:
    """Return flow matching's loss on new latents; memory and past are clean (reference layout)."""
    there = inputs.latents.device
    drawn = cast("tuple[Tensor, Tensor, Tensor]", batch)
    x0, noise, level = (value.to(there, non_blocking=True) for value in drawn)
    new = transformer.config.segment_latents
    noisy = torch.cat([x0[:, :, :-new], add_noise(x0, noise, level)[:, :, -new:]], dim=2)
    sigma = torch.zeros_like(inputs.sigma)
    sigma[:, -new:] = level[:, None]
    prepared = transformer.prepare(inputs.conditions)
    velocity = transformer.denoise(noisy, sigma, prepared, inputs.context)
    return (velocity - (noise - x0))[:, :, -new:].square().mean()


def _notes(
    config: TrainBenchConfig,
    shape: TransformerConfig,
    rate: float,
    peak: float,
    mfu: float,
    wait: float,
) -> tuple[str, ...]:
    tokens = footprint(shape).tokens.later_segment
    return (
        f"{shape.num_blocks} blocks of width {shape.dim}, {config.num_segments} x {tokens} tokens "
        "a step, "
        f"{config.learner.precision} products over float32 weights, ZeRO "
        f"{config.learner.zero_stage}, AdamW, clipping and moving average included.",
        f"Blocks are {'compiled' if config.compiles else 'eager'}; activations are "
        f"{'computed again' if config.checkpoint_activations else 'kept'}.",
        f"{rate / _TERA:.4g} TFLOP/s of {peak / _TERA:.4g}: MFU {mfu:.1%}; data wait {wait:.2%}. "
        "A GPU's peak is its data sheet's, dense bf16; a CPU's is a float32 product timed here.",
        f"deepspeed {version('deepspeed')}, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}.",
    )


def _bars(mfu: float, wait: float) -> tuple[Bar, ...]:
    return (
        Bar(name="MFU", value=mfu, limit=LEAST_MFU, sense="at least"),
        Bar(name="data wait", value=wait, limit=MOST_DATA_WAIT, sense="at most"),
    )
