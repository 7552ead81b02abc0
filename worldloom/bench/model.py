"""What a preset's passes take on a device, and whether memory is what was foretold.

Weights and inputs are random (a seed's), so answers mean nothing; shapes, and so times and bytes,
are the preset's. Each pass is timed by itself, without compilation, and set beside the operations
that the model counts for itself. It does not know sessions, samplers or how a report is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from pydantic import Field
from torch import Tensor, nn

from worldloom.bench.record import (
    Bar,
    BenchReport,
    Measurement,
    measured,
    this_machine,
    timed_in_turns,
)
from worldloom.config import Config
from worldloom.errors import MachineError
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import DryRun, committed_segment, later_segment
from worldloom.model.cost.footprint import footprint, meta_transformer
from worldloom.model.cost.memory_plan import memory_needs, require_memory
from worldloom.model.transformer import PreparedSegment, WorldModelTransformer

GIB = 1 << 30
# What allocation rounds up, and kernels' workspaces; the plan's reserve of 2 GiB covers it.
MOST_OVER_PLAN = 1.1
_TERA = 1e12


class ModelBenchConfig(Config):
    """How often each pass runs."""

    num_samples: int = Field(10, ge=1, description="timed runs of each pass")
    num_warmup: int = Field(3, ge=0, description="runs of each thrown away first")
    seed: int = Field(0, ge=0, description="seed of weights and inputs")


@dataclass
class _Passes:
    """The passes of a segment as calls without arguments, and their operations."""

    run: Mapping[str, Callable[[], object]]
    flops: Mapping[str, int]


def measure_model(
    config: ModelBenchConfig,
    shape: TransformerConfig,
    device: torch.device,
    command: str,
) -> BenchReport:
    """Time a preset's passes in bfloat16 and compare memory with the plan.

    Args:
        config: how often.
        shape: the transformer's.
        device: where it runs; memory is compared on a GPU only.
        command: what measures it again.

    Raises:
        MachineError: for a GPU that is too small, before anything is allocated.
    """
    generator = torch.Generator(device).manual_seed(config.seed)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        require_memory(shape, free, name="model", weights="bf16")
    before = _allocated(device)
    transformer = random_transformer(shape, generator)
    weights = _allocated(device) - before
    with torch.inference_mode():
        inputs = random_inputs(later_segment, shape, generator)
        held = _allocated(device)
        prepared = transformer.prepare(inputs.conditions)
        plans = _allocated(device) - held
        peak = _peak(device, lambda: _denoise(transformer, inputs, prepared))
        passes = _passes(transformer, shape, inputs, prepared, generator)
        seconds = timed_in_turns(
            passes.run, num_samples=config.num_samples, num_warmup=config.num_warmup, device=device
        )
    times = {
        name: measured(name, "ms", [1e3 * t for t in taken], num_warmup=config.num_warmup)
        for name, taken in seconds.items()
    }
    return BenchReport(
        title=f"Passes of a segment of {shape.segment_latents} latents",
        command=command,
        notes=(
            "Weights and inputs are random, in bfloat16; nothing is compiled.",
            *(_rate(times[name], passes.flops[name]) for name in times),
        ),
        machine=this_machine(device),
        measurements=tuple(times.values()),
        bars=() if device.type == "cpu" else _memory_bars(shape, weights, plans, peak),
    )


def random_transformer(
    shape: TransformerConfig, generator: torch.Generator, *, dtype: torch.dtype = torch.bfloat16
) -> WorldModelTransformer:
    """Return a transformer whose weights are drawn where the generator lives."""
    transformer = meta_transformer(shape).to(dtype).to_empty(device=generator.device)
    for name, parameter in transformer.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02, generator=generator)
        else:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return transformer.eval().requires_grad_(requires_grad=False)


def _passes(
    transformer: WorldModelTransformer,
    shape: TransformerConfig,
    inputs: DryRun,
    prepared: PreparedSegment,
    generator: torch.Generator,
) -> _Passes:
    counts = footprint(shape).flops_by_pass
    run: dict[str, Callable[[], object]] = {
        "prepare": lambda: transformer.prepare(inputs.conditions),
        "denoise": lambda: _denoise(transformer, inputs, prepared),
    }
    flops = {"prepare": counts.prepare, "denoise": counts.evaluation}
    if shape.layout == "stream":
        clean = random_inputs(committed_segment, shape, generator)
        run["commit"] = lambda: transformer.commit(
            clean.latents, transformer.prepare(clean.conditions), clean.context
        )
        flops["commit"] = counts.commit
    return _Passes(run, flops)


def _denoise(
    transformer: WorldModelTransformer, inputs: DryRun, prepared: PreparedSegment
) -> Tensor:
    return transformer.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)


def random_inputs(
    build: Callable[[TransformerConfig], DryRun],
    shape: TransformerConfig,
    generator: torch.Generator,
) -> DryRun:
    """Return a pass's inputs with numbers drawn; keys and values in bfloat16."""
    with generator.device:
        inputs = build(shape)

    def draw(values: Tensor) -> Tensor:
        return values.normal_(generator=generator) if values.is_floating_point() else values

    conditions = inputs.conditions
    for values in (conditions.rays, conditions.coordinates, inputs.latents):
        draw(values)
    draw(conditions.prompt)
    inputs.sigma.fill_(0.5)
    context = inputs.context
    if context is not None and context.blocks is not None:
        blocks = [
            replace(
                block,
                keys=draw(block.keys.bfloat16()),
                values=draw(block.values.bfloat16()),
            )
            for block in context.blocks
        ]
        inputs.context = replace(context, blocks=blocks)
    return inputs


def _rate(time: Measurement, flops: int) -> str:
    rate = flops / (time.median / 1e3) / _TERA
    return f"{time.name}: {flops / _TERA:.4g} TFLOP by the model's own count, {rate:.4g} TFLOP/s."


def _memory_bars(shape: TransformerConfig, weights: int, plans: int, peak: int) -> tuple[Bar, ...]:
    needs = memory_needs(shape)
    foretold = {
        "weights": (weights, needs.weights.bf16),
        "plans": (plans, needs.plans),
        "activations": (peak, needs.activations),
    }
    return tuple(
        Bar(
            name=f"{name}: {found / GIB:.3f} GiB allocated, {planned / GIB:.3f} foretold; ratio",
            value=found / planned,
            limit=MOST_OVER_PLAN,
            sense="at most",
        )
        for name, (found, planned) in foretold.items()
    )


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak(device: torch.device, run: Callable[[], object]) -> int:
    """Return the most bytes that a run held beyond what was there before."""
    if device.type != "cuda":
        run()
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        run()
    except torch.OutOfMemoryError as error:
        message = f"GPU memory: {error}, expected the plan to fit"
        raise MachineError(message) from error
    return torch.cuda.max_memory_allocated(device) - before
