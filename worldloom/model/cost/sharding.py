"""How weights and optimizer states are spread over GPUs, as numbers.

Training is ZeRO-3 (Rajbhandari et al. 2020): weights and gradients in bfloat16, a float32 master
copy and Adam's two moments, all cut into as many pieces as there are GPUs; while a block runs, its
weights are whole, and so are those of the next one, which is fetched meanwhile. Experts are trained
one at a time, as Wan2.2 trains its two, so the largest one decides. For inference the weights of
all experts that a session needs are cut, or those of one while the other waits in the host's
memory. Activations, which hang on batch, segment and checkpointing, are not among these bytes.
It does not know processes or how they talk.
"""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.footprint import meta_transformer
from worldloom.model.cost.memory_plan import RESERVE_BYTES
from worldloom.model.experts_config import ExpertsConfig, resident_shapes

# Bytes of one parameter: weight and gradient in bf16; master, momentum and variance in fp32.
TRAINING_BYTES = 2 + 2 + 4 + 4 + 4
WEIGHT_BYTES = 2
_BLOCKS_AT_HAND = 2
_MOST_GPUS = 1024


class Sizes(Config):
    """Parameters that a plan is made of."""

    trained: int = Field(ge=1, description="parameters of the transformer that is trained")
    largest_block: int = Field(ge=1, description="parameters of its largest block")
    resident: int = Field(ge=1, description="parameters that a session needs at hand")
    largest_resident: int = Field(ge=1, description="those of the largest expert among them")


class ShardingPlan(Config):
    """Bytes of every GPU of so many."""

    num_gpus: int = Field(ge=1, description="GPUs")
    training_bytes: int = Field(description="of training, on each of them")
    inference_bytes: int = Field(description="of inference, all that is needed at hand, on each")
    offloaded_inference_bytes: int = Field(
        description="of inference with one expert at hand and the other in the host's memory; "
        "without experts the same"
    )


class SmallestPlans(Config):
    """How many GPUs of one size are enough; null where no number is."""

    training: int | None = Field(description="GPUs that can train it")
    inference: int | None = Field(
        description="GPUs that can run a segment with all its weights at hand"
    )
    offloaded_inference: int | None = Field(
        description="the same with one expert at hand at a time"
    )


def model_sizes(config: TransformerConfig, experts: ExpertsConfig | None = None) -> Sizes:
    """Count the parameters that plans are made of, on the meta device."""
    resident = [meta_transformer(shape) for shape in resident_shapes(config, experts)]
    counts = [sum(p.numel() for p in transformer.parameters()) for transformer in resident]
    trained = resident[counts.index(max(counts))]
    blocks = [sum(p.numel() for p in block.parameters()) for block in trained.blocks]
    return Sizes(
        trained=max(counts),
        largest_block=max(blocks),
        resident=sum(counts),
        largest_resident=max(counts),
    )


def sharding_plan(sizes: Sizes, num_gpus: int) -> ShardingPlan:
    """Return the bytes of every GPU of `num_gpus`; raises `ValueError` for none."""
    if num_gpus < 1:
        message = f"num_gpus={num_gpus}: expected at least 1"
        raise ValueError(message)
    at_hand = _BLOCKS_AT_HAND * WEIGHT_BYTES * sizes.largest_block if num_gpus > 1 else 0
    return ShardingPlan(
        num_gpus=num_gpus,
        training_bytes=_piece(TRAINING_BYTES * sizes.trained, num_gpus) + at_hand,
        inference_bytes=_piece(WEIGHT_BYTES * sizes.resident, num_gpus) + at_hand,
        offloaded_inference_bytes=_piece(WEIGHT_BYTES * sizes.largest_resident, num_gpus) + at_hand,
    )


def smallest_plans(sizes: Sizes, gpu_bytes: int, running_bytes: int) -> SmallestPlans:
    """Return the fewest GPUs whose memory, less the reserve, holds each use's bytes.

    Args:
        sizes: what is cut into pieces.
        gpu_bytes: memory of each GPU.
        running_bytes: what a running segment takes on every GPU beside weights (inference).
    """
    free = gpu_bytes - RESERVE_BYTES
    plans = [sharding_plan(sizes, num) for num in range(1, _MOST_GPUS + 1)]

    def fewest(use: str, room: int) -> int | None:
        fitting = (plan.num_gpus for plan in plans if vars(plan)[use] <= room)
        return next(fitting, None)

    return SmallestPlans(
        training=fewest("training_bytes", free),
        inference=fewest("inference_bytes", free - running_bytes),
        offloaded_inference=fewest("offloaded_inference_bytes", free - running_bytes),
    )


def _piece(total: int, num_gpus: int) -> int:
    return -(-total // num_gpus)
