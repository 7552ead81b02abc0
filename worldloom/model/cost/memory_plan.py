"""What a transformer needs of a GPU's memory, and what a GPU of a given size can hold.

Weights and caches follow from shapes; what a segment needs while it runs (its plans, and the
fullest moment of a denoising pass in bf16) is followed on the meta device, tensor by tensor. A
reserve stands for what is not counted: CUDA's own memory, workspaces of kernels, the allocator's
slack. The VAE and the prompt encoder are not counted; they can run elsewhere or before. Nothing is
allocated here, so a machine that is too small is refused before anything is.

It does not know sessions or training; how weights are spread over GPUs is `sharding`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import nn

from worldloom.config import Config
from worldloom.errors import MachineError
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.footprint import meta_transformer
from worldloom.model.cost.working_bytes import working_bytes
from worldloom.model.experts_config import ExpertsConfig, resident_shapes
from worldloom.model.transformer import WorldModelTransformer

GIB = 1 << 30
RESERVE_BYTES = 2 * GIB
Weights = Literal["bf16", "int8", "bf16_one_expert"]

_FP32, _BF16, _INT8 = 4, 2, 1
_MOST_STEPS = 50
Selects = Callable[[str], bool]


class WeightBytes(Config):
    """Bytes of weights in number formats; of experts, those that a session needs at hand."""

    fp32: int = Field(description="all in float32")
    bf16: int = Field(description="all in bfloat16")
    int8: int = Field(
        description="chosen linear layers in 8 bits with a float32 scale a row, the rest in "
        "bfloat16"
    )
    bf16_one_expert: int = Field(
        description="the largest expert alone in bfloat16, the other one offloaded; without "
        "experts the same as bf16"
    )

    def of(self, weights: Weights) -> int:
        """Return the bytes in one of the formats that a GPU runs."""
        return int(self.model_dump()[weights])


class KeyValueBytes(Config):
    """Bytes of committed keys and values in bfloat16; 0 in the reference layout."""

    per_latent: int = Field(description="one latent's, all blocks")
    per_context: int = Field(description="all that one session's segment sees")


class MemoryNeeds(Config):
    """What one session needs, in bytes."""

    weights: WeightBytes = Field(description="weights, in three formats")
    kv_cache: KeyValueBytes = Field(description="committed keys and values")
    plans: int = Field(
        description="what a segment's denoising steps share in bfloat16: cameras, prompt, "
        "rotations; held while the segment runs"
    )
    activations: int = Field(
        description="tensors alive at the fullest moment of one evaluation in bfloat16, beside "
        "weights, plans, context and the segment's inputs; attention as a fused kernel"
    )

    def total(self, weights: Weights, num_sessions: int = 1) -> int:
        """Return bytes for sessions whose segments run one at a time, the reserve among them."""
        cached = num_sessions * self.kv_cache.per_context
        return self.weights.of(weights) + self.plans + self.activations + cached + RESERVE_BYTES


class GpuPlan(Config):
    """What a GPU can hold with weights in one format."""

    needed_bytes: int = Field(description="for one session, the reserve among them")
    fits: bool = Field(description="whether the GPU holds that")
    num_sessions: int | None = Field(
        description="sessions whose keys and values fit while one of them runs; null where a "
        "session keeps none on the GPU"
    )
    largest_segment_latents: int = Field(
        description="new latents of the largest segment that fits, 0 if none does"
    )


def memory_needs(
    config: TransformerConfig,
    *,
    experts: ExpertsConfig | None = None,
    is_int8: Selects | None = None,
) -> MemoryNeeds:
    """Work out what one session of a shape needs.

    Args:
        config: the transformer's shape, or an expert's.
        experts: two of them are needed at hand: a view's high-noise one and the low-noise one.
        is_int8: which linear layers the 8-bit format chooses; every one in a block by default.
    """
    plans, activations = working_bytes(config)
    per_latent = 0
    if config.layout == "stream":
        per_latent = 2 * _BF16 * config.num_blocks * config.tokens_per_latent_frame * config.dim
    return MemoryNeeds(
        weights=weight_bytes(config, experts=experts, is_int8=is_int8),
        kv_cache=KeyValueBytes(
            per_latent=per_latent, per_context=per_latent * config.num_context_latents
        ),
        plans=plans,
        activations=activations,
    )


def gpu_plan(
    config: TransformerConfig, needs: MemoryNeeds, gpu_bytes: int, weights: Weights
) -> GpuPlan:
    """Say what a GPU of so many bytes can hold of a shape whose needs are known."""
    needed = needs.total(weights)
    free, per_session = gpu_bytes - needed, needs.kv_cache.per_context
    fits = free >= 0
    num_sessions = None
    if per_session:
        num_sessions = 1 + free // per_session if fits else 0
    return GpuPlan(
        needed_bytes=needed,
        fits=fits,
        num_sessions=num_sessions,
        largest_segment_latents=_largest_segment(config, free + needs.plans + needs.activations),
    )


def require_memory(
    config: TransformerConfig,
    gpu_bytes: int,
    *,
    name: str,
    weights: Weights | None = None,
    num_sessions: int = 1,
    experts: ExpertsConfig | None = None,
    is_int8: Selects | None = None,
) -> None:
    """Refuse a GPU that cannot hold a model and its sessions, before anything is allocated.

    Args:
        config: the transformer's shape, or an expert's.
        gpu_bytes: memory of the GPU.
        name: what to call the model.
        weights: the format that they will have; None is the leanest.
        num_sessions: sessions that keep their keys and values at once.
        experts: as in `memory_needs`.
        is_int8: as in `memory_needs`.

    Raises:
        MachineError: saying what is needed, part by part, and what is there.
    """
    needs = memory_needs(config, experts=experts, is_int8=is_int8)
    leanest = min(weight_formats(experts), key=needs.weights.of)
    chosen: Weights = leanest if weights is None else weights
    needed = needs.total(chosen, num_sessions)
    if needed <= gpu_bytes:
        return
    parts = {
        f"{chosen} weights": needs.weights.of(chosen),
        "a segment's plans": needs.plans,
        "activations": needs.activations,
        f"keys and values of {num_sessions} session(s)": num_sessions * needs.kv_cache.per_context,
        "reserve": RESERVE_BYTES,
    }
    listed = ", ".join(f"{part} {count / GIB:.1f}" for part, count in parts.items() if count)
    message = (
        f"{name}: needs {needed / GIB:.1f} GiB of GPU memory ({listed}) and the GPU has "
        f"{gpu_bytes / GIB:.1f} GiB, expected at least {needed / GIB:.1f} GiB"
    )
    raise MachineError(message)


def weight_formats(experts: ExpertsConfig | None = None) -> tuple[Weights, ...]:
    """Return the formats that a GPU can run a model in; only experts can be at hand in turn."""
    return ("bf16", "int8") if experts is None else ("bf16", "int8", "bf16_one_expert")


def weight_bytes(
    config: TransformerConfig,
    *,
    experts: ExpertsConfig | None = None,
    is_int8: Selects | None = None,
) -> WeightBytes:
    """Return the bytes of the weights that a session needs at hand."""
    resident = [meta_transformer(shape) for shape in resident_shapes(config, experts)]
    counts = [sum(p.numel() for p in transformer.parameters()) for transformer in resident]
    chosen = is_int8 or (lambda name: name.startswith("blocks."))
    return WeightBytes(
        fp32=_FP32 * sum(counts),
        bf16=_BF16 * sum(counts),
        int8=sum(_int8_bytes(transformer, chosen) for transformer in resident),
        bf16_one_expert=_BF16 * max(counts),
    )


def _int8_bytes(transformer: WorldModelTransformer, chosen: Selects) -> int:
    total = _BF16 * sum(p.numel() for p in transformer.parameters())
    for name, layer in transformer.named_modules():
        if isinstance(layer, nn.Linear) and chosen(name):
            total += (_INT8 - _BF16) * layer.weight.numel() + _FP32 * layer.out_features
    return total


def _largest_segment(config: TransformerConfig, working_bytes: int) -> int:
    """Return the most new latents whose plans and activations fit into so many bytes.

    What holds most at the fullest moment changes with the length, and what each adds is the same
    for every latent: a convex curve of straight pieces, so Newton's steps end on the last length
    that fits.
    """
    latents = config.segment_latents
    for _ in range(_MOST_STEPS):
        used = _bytes_at(config, latents)
        step = _bytes_at(config, latents + 1) - used
        further = (working_bytes - used) // step
        if further == 0 or (latents == 1 and further < 0):
            return latents if further == 0 else 0
        latents = max(1, latents + further)
    message = f"{_MOST_STEPS} steps towards the largest segment did not end"
    raise AssertionError(message)


def _bytes_at(config: TransformerConfig, segment_latents: int) -> int:
    return sum(working_bytes(config.model_copy(update={"segment_latents": segment_latents})))
