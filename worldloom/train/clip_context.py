"""Whole clips as segments: what each segment sees, and the keys and values that it sees it by.

In a session latents are committed one segment after another; in training all segments of many
clips are committed at once, and come out the same. It does not know losses, noise or optimisers.

Letters: N clips of a set, B clips of a batch, L latents, S segments of a clip, M context latents,
T latents of a segment, P tokens of a latent, W frames of a window or words of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.data.latents import LatentClips
from worldloom.frames import last_frame_of_latent
from worldloom.memory.retrieval import RetrievalConfig, retrieve
from worldloom.memory.slots import MemorySlots
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.text.text_encoder import tokenize
from worldloom.model.transformer import Context, SegmentConditions, WorldModelTransformer
from worldloom.rollout.segment import (
    Conditioner,
    action_windows,
    past_indices,
)

ClipLatents = Float[Tensor, "B L C H W"]


@dataclass
class ClipBatch:
    """Clips ready for the transformer."""

    latents: Tensor  # [B, L, C, H, W]
    poses: Tensor  # [B, L, 4, 4]
    keyboard: Tensor  # [B, L, W, keys]
    mouse: Tensor  # [B, L, W, axes]
    prompt: Tensor  # [B, W]
    context_indices: Tensor  # [B, S, M]
    context_valid: Tensor  # [B, S, M]

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on a device."""
        return ClipBatch(
            **{name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        )

    def pinned(self) -> ClipBatch:
        """Return the batch in memory that a GPU copies from without waiting."""
        return ClipBatch(
            **{
                name: value if value.is_cuda else value.pin_memory()
                for name, value in vars(self).items()
            }
        )

    def rows(self, chosen: slice) -> ClipBatch:
        """Return some of the clips."""
        return ClipBatch(**{name: value[chosen] for name, value in vars(self).items()})


class SegmentedClips:
    """Latent clips with the context of every segment worked out once."""

    def __init__(
        self, clips: LatentClips, config: TransformerConfig, retrieval: RetrievalConfig
    ) -> None:
        """Cut clips into segments after latent 0 and retrieve each segment's memory."""
        self.config = config
        self.clip_ids = list(clips.clip_ids)
        self.intrinsics = clips.intrinsics
        length = clips.latents.shape[1]
        self.num_segments = (length - 1) // config.segment_latents
        self.num_latents = 1 + self.num_segments * config.segment_latents
        self.latents = clips.latents[:, : self.num_latents]
        frames = last_frame_of_latent(1) * torch.arange(self.num_latents)
        self.poses = clips.poses[:, frames]
        at = torch.arange(self.num_latents).expand(len(clips), -1)
        self.keyboard = action_windows(clips.keyboard, at, config.action_window_frames)
        self.mouse = action_windows(clips.mouse, at, config.action_window_frames)
        self.prompt = tokenize(clips.prompts, config.text_vocabulary, config.text_length)
        self._plan_context(retrieval, clips.intrinsics)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.latents)

    def batch(self, rows: Int[Tensor, " B"]) -> ClipBatch:
        """Return the clips of these rows."""
        return ClipBatch(
            latents=self.latents[rows].float(),
            poses=self.poses[rows],
            keyboard=self.keyboard[rows],
            mouse=self.mouse[rows],
            prompt=self.prompt[rows],
            context_indices=self.context_indices[rows],
            context_valid=self.context_valid[rows],
        )

    def _plan_context(self, retrieval: RetrievalConfig, intrinsics: Intrinsics) -> None:
        """Fill [N, S, M] as a session does: slots of memory first, then the past, oldest first."""
        config = self.config
        shape = (len(self), self.num_segments, config.num_context_latents)
        self.context_indices = torch.zeros(shape, dtype=torch.long)
        self.context_valid = torch.zeros(shape, dtype=torch.bool)
        for row in range(len(self)):
            poses = self.poses[row].double().numpy()
            memory = MemorySlots(config.num_memory_latents, config.memory_refresh_frames)
            for segment in range(self.num_segments):
                start = segment_start(segment, config)
                past = past_indices(start, config.num_past_latents)
                queries = poses[start : start + config.segment_latents]
                candidates = poses[: past[0]]
                memory.update(
                    retrieve(queries, candidates, config.num_memory_latents, retrieval, intrinsics),
                    start,
                )
                empty = [None] * (config.num_past_latents - len(past))
                for slot, latent in enumerate([*memory.latents, *empty, *past]):
                    if latent is not None:
                        self.context_indices[row, segment, slot] = latent
                        self.context_valid[row, segment, slot] = True


def segment_start(segment_index: int, config: TransformerConfig) -> int:
    """Return the first latent of a segment of a clip (latent 0 is the start image)."""
    return 1 + segment_index * config.segment_latents


def segments_of(clips: Tensor, segment_latents: int) -> Tensor:
    """Return [B S, T, ...] of what belongs to the latents [B, L, ...] of clips, latent 0 apart."""
    by_segment: Tensor = clips[:, 1:].unflatten(1, (-1, segment_latents))
    return by_segment.flatten(0, 1)


def commit_clips(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    latents: ClipLatents,
) -> list[BlockContext]:
    """Return keys and values [B, L, P, N, D] of the first L latents of clips, block by block.

    Each latent sees while it is committed what the configuration's `reach` says. `latents` stand
    in for the batch's own; they end with a whole segment.
    """
    (committed,) = commit_versions(transformer, conditioner, batch, [latents])
    return committed


def commit_versions(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    versions: Sequence[ClipLatents],
) -> list[list[BlockContext]]:
    """Commit several versions of the same clips; what poses, actions and prompt say is shared."""
    config = transformer.config
    length = versions[0].shape[1]
    if config.reach == "latent" or length == 1:
        return _commit(transformer, conditioner, batch, versions, slice(length), 1)
    first = _commit(transformer, conditioner, batch, versions, slice(1), 1)
    if config.reach == "segment":
        which, size = slice(1, length), config.segment_latents
        rest = _commit(transformer, conditioner, batch, versions, which, size)
    else:
        rest = [
            _commit_in_windows(transformer, conditioner, batch, latents, start)
            for latents, start in zip(versions, first, strict=True)
        ]
    return [_joined(start, others) for start, others in zip(first, rest, strict=True)]


def commit_latents(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    latents: ClipLatents,
    chosen: Int[Tensor, "B M"],
) -> list[BlockContext]:
    """Return keys and values [B, M P, N, D] of chosen latents, each committed alone."""
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    picked = replace(
        batch,
        poses=batch.poses[rows, chosen],
        keyboard=batch.keyboard[rows, chosen],
        mouse=batch.mouse[rows, chosen],
    )
    values = [latents[rows, chosen]]
    (alone,) = _commit(transformer, conditioner, picked, values, slice(None), 1)
    return [BlockContext(x.keys.flatten(1, 2), x.values.flatten(1, 2)) for x in alone]


def gather_latents(blocks: list[BlockContext], indices: Int[Tensor, "B ..."]) -> list[BlockContext]:
    """Return keys and values [B ..., M P, N, D] of chosen latents, the batch axes joined."""
    return [_gather(block, indices) for block in blocks]


def segment_context(
    conditioner: Conditioner, batch: ClipBatch, num_segments: int
) -> tuple[Context, Tensor]:
    """Return the context (without keys and values) and anchors [B S, 4, 4] of clips' segments."""
    chosen = batch.context_indices[:, :num_segments]
    rows = torch.arange(len(chosen), device=chosen.device)[:, None, None]
    starts = segment_start(0, conditioner.config) + conditioner.config.segment_latents * (
        torch.arange(num_segments, device=chosen.device)
    )
    anchor = batch.poses[:, starts - 1].flatten(0, 1)
    context = conditioner.context(
        None,
        batch.poses[rows, chosen].flatten(0, 1),
        anchor,
        (starts[:, None] - chosen).flatten(0, 1),
        batch.context_valid[:, :num_segments].flatten(0, 1),
    )
    return context, anchor


def noisy_conditions(
    conditioner: Conditioner, batch: ClipBatch, anchor: Float[Tensor, "BS 4 4"], num_segments: int
) -> SegmentConditions:
    """Return what the first segments of all clips are told, clip by clip."""
    size = conditioner.config.segment_latents
    length = segment_start(num_segments, conditioner.config)

    def of_segments(values: Tensor) -> Tensor:
        return segments_of(values[:, :length], size)

    windows = (of_segments(batch.keyboard), of_segments(batch.mouse))
    prompt = batch.prompt.repeat_interleave(num_segments, dim=0)
    return conditioner.noisy(of_segments(batch.poses), anchor, windows, prompt)


def _commit(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    versions: Sequence[Tensor],
    which: slice,
    size: int,
) -> list[list[BlockContext]]:
    """Commit some latents of clips in groups of `size`, each group alone, version by version."""

    def grouped(values: Tensor) -> Tensor:
        by_group: Tensor = values[:, which].unflatten(1, (-1, size))
        return by_group.flatten(0, 1)

    poses = grouped(batch.poses)
    windows = (grouped(batch.keyboard), grouped(batch.mouse))
    count = len(batch.poses)
    prompt = batch.prompt.repeat_interleave(len(poses) // count, dim=0)
    prepared = transformer.prepare(conditioner.clean(poses, windows, prompt))
    committed = []
    for latents in versions:
        blocks = transformer.commit(grouped(latents).transpose(1, 2), prepared)
        committed.append([_by_latent(block, count, transformer.config) for block in blocks])
    return committed


def _joined(first: list[BlockContext], rest: list[BlockContext]) -> list[BlockContext]:
    """Return keys and values of a clip's first latents and of its others as those of all."""
    return [
        BlockContext(
            *(torch.cat([a, b], dim=1) for a, b in ((x.keys, y.keys), (x.values, y.values)))
        )
        for x, y in zip(first, rest, strict=True)
    ]


def _commit_in_windows(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    batch: ClipBatch,
    latents: Tensor,
    first: list[BlockContext],
) -> list[BlockContext]:
    """Commit segments that each see the context that their noisy selves saw."""
    config, count = transformer.config, len(latents)
    num_segments = (latents.shape[1] - 1) // config.segment_latents
    chosen = batch.context_indices[:, :num_segments]

    def of_own(index: int, own: BlockContext) -> BlockContext:
        by_latent = _by_latent(own, count, config)
        keys = torch.cat([first[index].keys, by_latent.keys], dim=1)
        values = torch.cat([first[index].values, by_latent.values], dim=1)
        return _gather(BlockContext(keys, values), chosen)

    context, anchor = segment_context(conditioner, batch, num_segments)
    prepared = transformer.prepare(noisy_conditions(conditioner, batch, anchor, num_segments))
    groups = segments_of(latents, config.segment_latents).transpose(1, 2)
    committed = transformer.commit(groups, prepared, replace(context, of_own=of_own))
    return [_by_latent(block, count, config) for block in committed]


def _by_latent(block: BlockContext, num_clips: int, config: TransformerConfig) -> BlockContext:
    """Return [B, L, P, N, D] of keys and values [B G, T P, N, D] of groups of latents."""

    def split(values: Tensor) -> Tensor:
        by_token = values.unflatten(1, (-1, config.tokens_per_latent_frame))
        by_latent: Tensor = by_token.unflatten(0, (num_clips, -1))
        return by_latent.flatten(1, 2)

    return BlockContext(split(block.keys), split(block.values))


def _gather(block: BlockContext, indices: Tensor) -> BlockContext:
    rows = torch.arange(len(indices), device=indices.device)
    rows = rows.view(-1, *[1] * (indices.ndim - 1))

    def pick(values: Tensor) -> Tensor:
        chosen = values[rows, indices]  # [B, ..., M, P, N, D]
        joined: Tensor = chosen.flatten(0, indices.ndim - 2).flatten(1, 2)
        return joined

    return BlockContext(pick(block.keys), pick(block.values))
