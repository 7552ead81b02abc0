"""Everything that can be said of a model before its weights exist: counts, operations, memory.

It puts together what `footprint`, `memory_plan` and `sharding` count, for one transformer or for
experts by noise level. It does not know presets or who reads the description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from worldloom.config import Config
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.flop_count import FlopCounts
from worldloom.model.cost.footprint import (
    Footprint,
    ParameterCounts,
    PassFlops,
    TokenCounts,
    footprint,
)
from worldloom.model.cost.memory_plan import (
    GpuPlan,
    MemoryNeeds,
    Selects,
    Weights,
    gpu_plan,
    memory_needs,
    weight_formats,
)
from worldloom.model.cost.sharding import (
    ShardingPlan,
    SmallestPlans,
    model_sizes,
    sharding_plan,
    smallest_plans,
)
from worldloom.model.experts_config import ExpertsConfig, evaluations_by_expert, expert_shapes

_SHOWN_GPUS = (1, 2, 4, 8, 16)


class ExpertDescription(Config):
    """What one expert is and computes."""

    parameters: ParameterCounts = Field(description="parameters by part")
    flops_per_forward: int = Field(description="operations of one forward of a later segment")
    num_evaluations: int = Field(
        description="evaluations that are its, of a segment in the first view"
    )


class Description(Config):
    """What a model is, computes and needs."""

    parameters: ParameterCounts = Field(description="parameters by part, of all experts together")
    tokens_per_latent_frame: int = Field(description="tokens of one latent")
    tokens: TokenCounts = Field(description="tokens by segment")
    flops_per_forward: int = Field(
        description="operations of one forward of a later segment: prepared, then evaluated once; "
        "of experts, the first one's"
    )
    flops_by_part: FlopCounts = Field(description="the same by part")
    flops_by_pass: PassFlops = Field(description="a segment's operations by pass")
    num_evaluations: int = Field(description="evaluations of the network that a segment takes")
    flops_per_segment: int = Field(description="operations of a later segment")
    memory: MemoryNeeds = Field(description="bytes that one session needs")
    gpu_bytes: int = Field(description="memory of the GPU that is asked about")
    gpu: Mapping[Weights, GpuPlan] = Field(description="what it can hold, by format of weights")
    sharding: tuple[ShardingPlan, ...] = Field(description="bytes of each GPU of so many")
    smallest_num_gpus: SmallestPlans = Field(description="how many such GPUs are enough")
    experts: Mapping[str, ExpertDescription] = Field(description="experts by name, if any")


def describe(
    config: TransformerConfig,
    sigmas: Sequence[float],
    gpu_bytes: int,
    *,
    num_branches: int = 1,
    experts: ExpertsConfig | None = None,
    is_int8: Selects | None = None,
) -> Description:
    """Count and follow a model on the meta device.

    Args:
        config: the transformer's shape, or an expert's.
        sigmas: the noise levels at which a segment is evaluated.
        gpu_bytes: memory of one GPU.
        num_branches: evaluations a level: 1, or 2 with guidance.
        experts: experts by noise level, if there are any.
        is_int8: which linear layers the 8-bit format chooses.
    """
    shapes = {"": config} if experts is None else expert_shapes(config, experts)
    counted = {name: footprint(shape) for name, shape in shapes.items()}
    asked = {"": len(sigmas)} if experts is None else evaluations_by_expert(sigmas, experts)
    first = next(iter(counted.values()))
    needs = memory_needs(config, experts=experts, is_int8=is_int8)
    sizes = model_sizes(config, experts)
    return Description(
        parameters=_together([found.parameters for found in counted.values()]),
        tokens_per_latent_frame=first.tokens_per_latent_frame,
        tokens=first.tokens,
        flops_per_forward=first.flops_per_forward,
        flops_by_part=first.flops_by_part,
        flops_by_pass=first.flops_by_pass,
        num_evaluations=num_branches * len(sigmas),
        flops_per_segment=_of_segment(counted, asked, num_branches),
        memory=needs,
        gpu_bytes=gpu_bytes,
        gpu={
            weights: gpu_plan(config, needs, gpu_bytes, weights)
            for weights in weight_formats(experts)
        },
        sharding=tuple(sharding_plan(sizes, num) for num in _SHOWN_GPUS),
        smallest_num_gpus=smallest_plans(sizes, gpu_bytes, needs.plans + needs.activations),
        experts={
            name: ExpertDescription(
                parameters=found.parameters,
                flops_per_forward=found.flops_per_forward,
                num_evaluations=num_branches * asked[name],
            )
            for name, found in counted.items()
            if name
        },
    )


def _together(counts: Sequence[ParameterCounts]) -> ParameterCounts:
    parts = ParameterCounts.model_fields
    return ParameterCounts(**{part: sum(vars(each)[part] for each in counts) for part in parts})


def _of_segment(
    counted: Mapping[str, Footprint], asked: Mapping[str, int], num_branches: int
) -> int:
    """Return a segment's operations: whoever is asked prepares it, once a branch."""
    passes = {name: found.flops_by_pass for name, found in counted.items() if asked[name]}
    denoised = sum(each.prepare + asked[name] * each.evaluation for name, each in passes.items())
    return num_branches * denoised + max(each.commit for each in passes.values())
