"""A model's description as lines for people: billions, TFLOP, GiB.

It knows units and nothing of how the figures come about.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.model.cost.description import Description
from worldloom.model.cost.memory_plan import GIB, GpuPlan

_BYTES = ((GIB, "G"), (1 << 20, "M"), (1 << 10, "K"))
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def description_lines(told: Description) -> Mapping[str, str]:
    """Return a description's lines by label."""
    return {
        **_parameter_lines(told),
        **_flop_lines(told),
        **_memory_lines(told),
        **_sharding_lines(told),
    }


def _parameter_lines(told: Description) -> Mapping[str, str]:
    parameters, tokens = told.parameters, told.tokens
    lines = {
        "parameters": f"{_count(parameters.total)} (core {_count(parameters.core)}, camera "
        f"{_count(parameters.camera)}, action {_count(parameters.action)})"
    }
    for name, expert in told.experts.items():
        lines[f"  {name}"] = (
            f"{_count(expert.parameters.total)}, {_flops(expert.flops_per_forward)} a forward, "
            f"{expert.num_evaluations} evaluations a segment"
        )
    context = f", {tokens.context:,} committed ones in view" if tokens.context else ""
    lines["tokens"] = (
        f"{told.tokens_per_latent_frame:,} a latent; {tokens.first_segment:,} in the first "
        f"segment, {tokens.later_segment:,} in later ones{context}"
    )
    return lines


def _flop_lines(told: Description) -> Mapping[str, str]:
    lines = {"one forward": _flops(told.flops_per_forward)}
    for part, flops in told.flops_by_part.model_dump().items():
        share = flops / told.flops_per_forward
        lines[f"  {part.replace('_', ' ')}"] = f"{_flops(flops)} ({share:.1%})"
    by_pass = told.flops_by_pass
    commit = f", then commit {_flops(by_pass.commit)}" if by_pass.commit else ""
    lines["one segment"] = (
        f"{_flops(told.flops_per_segment)} (prepare {_flops(by_pass.prepare)}, "
        f"{told.num_evaluations} x {_flops(by_pass.evaluation)}{commit})"
    )
    return lines


def _memory_lines(told: Description) -> Mapping[str, str]:
    memory = told.memory
    weights, cached = memory.weights, memory.kv_cache
    lines = {
        "weights": f"{_bytes(weights.fp32)} fp32, {_bytes(weights.bf16)} bf16, "
        f"{_bytes(weights.int8)} with 8-bit layers",
        "keys and values": f"{_bytes(cached.per_latent)} a latent, {_bytes(cached.per_context)} a "
        "session"
        if cached.per_latent
        else "none are kept",
        "a running segment": f"{_bytes(memory.plans)} plans, "
        f"{_bytes(memory.activations)} activations",
    }
    for weights_format, plan in told.gpu.items():
        label = weights_format.replace("_", " ")
        lines[f"GPU of {_bytes(told.gpu_bytes)}, {label}"] = _plan_text(plan)
    return lines


def _plan_text(plan: GpuPlan) -> str:
    if not plan.fits:
        return f"too small, needs {_bytes(plan.needed_bytes)}"
    sessions = "" if plan.num_sessions is None else f", {plan.num_sessions} sessions in turn"
    return (
        f"fits ({_bytes(plan.needed_bytes)}){sessions}, segments of up to "
        f"{plan.largest_segment_latents:,} latents"
    )


def _sharding_lines(told: Description) -> Mapping[str, str]:
    lines = {
        f"GPUs, {plan.num_gpus}": f"{_bytes(plan.training_bytes)} each to train, "
        f"{_bytes(plan.inference_bytes)} each for weights alone"
        for plan in told.sharding
    }
    fewest = told.smallest_num_gpus
    lines["fewest such GPUs"] = (
        f"{fewest.training or 'no number'} to train (ZeRO-3, activations not counted), "
        f"{fewest.inference or 'no number'} to run"
    )
    return lines


def _bytes(count: int) -> str:
    for size, letter in _BYTES:
        if count >= size:
            return f"{count / size:.1f} {letter}iB"
    return f"{count} B"


def _count(number: int) -> str:
    return f"{number / 1e9:.3f} B" if number >= 1e8 else f"{number / 1e6:.3f} M"


def _flops(number: int) -> str:
    for size, letter in _UNITS:
        if number >= size:
            return f"{number / size:.1f} {letter}FLOP"
    return f"{number} FLOP"
