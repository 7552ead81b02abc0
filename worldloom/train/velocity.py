"""The velocity of all segments of whole clips at once, as training asks for it.

Eager, compiled or recorded as CUDA graphs, with or without kept activations: the numbers are the
same within rounding. It does not know losses or where residuals come from.

Letters: B clips, L latents, S segments of a clip, T latents of a segment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worldloom.model.attention import BlockContext
from worldloom.model.block import TransformerBlock
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.whole_window import denoise_joined, joined_conditions
from worldloom.train.clip_context import (
    ClipBatch,
    commit_clips,
    commit_versions,
    gather_latents,
    noisy_conditions,
    segment_context,
)
from worldloom.train.flow_config import Compilation
from worldloom.train.recorded import Recorded

Predict = Callable[..., Tensor]
_MOST_VARIANTS = 64


@dataclass
class Seen:
    """Latents of whole clips as segments see them: in their past, and in their memory."""

    past: Tensor  # [B, L, C, H, W]
    memory: Tensor | None = None  # [B, L, C, H, W]; None: the same as in the past


def predict_velocity(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    seen: Seen,
    noisy: Float[Tensor, "BS C T H W"],
    sigma: Float[Tensor, " BS"],
) -> Float[Tensor, "BS C T H W"]:
    """Return the velocity of all segments of a batch of clips.

    Args:
        transformer: the network.
        conditioner: for its configuration and the clips' camera.
        batch: the clips.
        seen: what is committed (clean, or disturbed).
        noisy: all segments, clip by clip.
        sigma: their noise levels.
    """
    if transformer.config.reach == "bidirectional":
        return _predict_joined(transformer, conditioner, batch, seen, noisy, sigma)
    num_segments = batch.context_indices.shape[1]
    context, anchor = segment_context(conditioner, batch, num_segments)
    blocks = _context_blocks(transformer, conditioner, batch, seen)
    prepared = transformer.prepare(noisy_conditions(conditioner, batch, anchor, num_segments))
    levels = sigma[:, None].expand(-1, noisy.shape[2])
    velocity: Tensor = transformer.denoise(noisy, levels, prepared, replace(context, blocks=blocks))
    return velocity


def compiled(compilation: Compilation, backend: str = "inductor") -> Predict:
    """Return `predict_velocity` as it is to be run; the backend is torch's name of a compiler.

    With `blocks` the network's own blocks are compiled (`compile_blocks`), and it stays as it is.
    """
    if compilation in ("none", "blocks"):
        return predict_velocity
    if compilation == "default":
        return torch.compile(predict_velocity, dynamic=False, backend=backend, fullgraph=True)
    return RecordedPrediction()


class RecordedPrediction:
    """`predict_velocity`, recorded for the first network and camera that it is asked for."""

    def __init__(self) -> None:
        """Record nothing yet."""
        self._recorded: Recorded | None = None

    def __call__(
        self,
        transformer: WorldModelTransformer,
        conditioner: Conditioner,
        batch: ClipBatch,
        seen: Seen,
        noisy: Float[Tensor, "BS C T H W"],
        sigma: Float[Tensor, " BS"],
    ) -> Float[Tensor, "BS C T H W"]:
        """Return what `predict_velocity` returns."""
        told = {name: value for name, value in vars(batch).items() if name != "latents"}

        def compute(
            network: WorldModelTransformer,
            noisy: Tensor,
            sigma: Tensor,
            past: Tensor,
            *others: Tensor,
        ) -> tuple[Tensor]:
            again = ClipBatch(past, **dict(zip(told, others, strict=False)))
            memory = others[len(told)] if len(others) > len(told) else None
            seen = Seen(past, memory)
            return (predict_velocity(network, conditioner, again, seen, noisy, sigma),)

        if self._recorded is None:
            self._recorded = Recorded(transformer, compute, rounds_weights=True)
        memory = () if seen.memory is None else (seen.memory,)
        (velocity,) = self._recorded(noisy, sigma, seen.past, *told.values(), *memory)
        return velocity


def compile_blocks(transformer: WorldModelTransformer, backend: str = "inductor") -> None:
    """Run every block's passes as fused kernels; blocks that are alike share them.

    Compiles in seconds what takes minutes as a whole, and serves any loss. The blocks of a copy of
    this transformer would still be these ones: copy first.
    """
    limit = torch._dynamo.config.recompile_limit  # noqa: SLF001 - torch has no public name for it
    # Kinds of blocks times shapes of passes (first latent, others, segments), with and without
    # gradients, are more than torch's eight; beyond the limit it would run them eagerly.
    torch._dynamo.config.recompile_limit = max(limit, _MOST_VARIANTS)  # noqa: SLF001
    for block in transformer.blocks:
        for name in ("plan", "keys_values", "forward"):
            fused = torch.compile(getattr(block, name), dynamic=False, backend=backend)
            setattr(block, name, fused)


def checkpoint_blocks(transformer: WorldModelTransformer) -> None:
    """Let every block forget its activations and compute them again in the backward.

    The blocks of a copy of this transformer would still be these ones: copy first.
    """
    for block in transformer.blocks:
        assert isinstance(block, TransformerBlock)
        again = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        block.forward = again  # type: ignore[method-assign]


def _predict_joined(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    seen: Seen,
    noisy: Float[Tensor, "BS C T H W"],
    sigma: Float[Tensor, " BS"],
) -> Float[Tensor, "BS C T H W"]:
    """Return the velocity where each segment and its context are one sequence."""
    chosen, slots = batch.context_indices, transformer.config.num_memory_latents
    num_segments = chosen.shape[1]
    rows = torch.arange(len(chosen), device=chosen.device)[:, None, None]

    def picked(values: Tensor, which: Tensor = chosen) -> Tensor:
        return values[rows, which].flatten(0, 1)

    context, anchor = segment_context(conditioner, batch, num_segments)
    of_segment = noisy_conditions(conditioner, batch, anchor, num_segments)
    windows = (picked(batch.keyboard), picked(batch.mouse))
    of_context = conditioner.noisy(picked(batch.poses), anchor, windows, of_segment.prompt)
    memory = seen.past if seen.memory is None else seen.memory
    clean = torch.cat(
        [picked(memory, chosen[..., :slots]), picked(seen.past, chosen[..., slots:])], dim=1
    )
    clean = clean * batch.context_valid.flatten(0, 1)[..., None, None, None]
    prepared = transformer.prepare(joined_conditions(context, of_context, of_segment, slots))
    levels = sigma[:, None].expand(-1, noisy.shape[2])
    return denoise_joined(transformer, clean, noisy, levels, prepared)


def _context_blocks(
    transformer: WorldModelTransformer, conditioner: Conditioner, batch: ClipBatch, seen: Seen
) -> list[BlockContext]:
    """Return what each segment sees, block by block: memory slots first, then the past."""
    if seen.memory is None:
        past = commit_clips(transformer, conditioner, batch, seen.past)
        return gather_latents(past, batch.context_indices)
    versions = [seen.past, seen.memory]
    past, memory = commit_versions(transformer, conditioner, batch, versions)
    slots = transformer.config.num_memory_latents
    of_memory = gather_latents(memory, batch.context_indices[..., :slots])
    of_past = gather_latents(past, batch.context_indices[..., slots:])
    return [
        BlockContext(
            torch.cat([left.keys, right.keys], dim=1),
            torch.cat([left.values, right.values], dim=1),
        )
        for left, right in zip(of_memory, of_past, strict=True)
    ]
