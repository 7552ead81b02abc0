"""Which past latents each segment of a walk sees, by the rule that an arm follows.

    ours       greedy cover among a session's keyframes, for every segment anew
    held       the same, but a slot keeps its latent for 40 frames
    reference  Matrix-Game 3.0's: for each of five coming frames the past frame that sees most of
               it, the oldest on ties and with repeats; the last slot is latent 1
    random     the sink, and others drawn evenly
    none       the recent past alone
    oracle     the latents whose poses are nearest to those to come, chosen anew for every segment

Poses are known from the start in an evaluation, so a whole walk is planned at once. Old views
overlap, so random memory is no null control; none is. It does not know latents' content.

Letters: L latents, S segments, M context latents, T latents of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from worldloom.arrays import BoolArray, FloatArray, IntArray
from worldloom.camera import Intrinsics, rotation_angle
from worldloom.frames import TEMPORAL_STRIDE, latent_of_frame
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.keyframe_index import NO_LATENT, KeyframeIndex
from worldloom.memory.reference import QUERY_OFFSETS, SINK_FRAME, reference_scores
from worldloom.memory.slots import MemorySlots
from worldloom.model.config import TransformerConfig

MemoryChoice = Literal["ours", "held", "reference", "random", "none", "oracle"]
FramePoses = Float[FloatArray, "F 4 4"]

# The reference asks for five frames of the 40 that it adds.
_REFERENCE_NEW_FRAMES = 40
_HELD_FRAMES = 40  # after the frames that the reference adds between two choices


@dataclass(frozen=True)
class ContextPlan:
    """What each segment of one walk sees: memory first, then the past."""

    chosen: Int[IntArray, "S M"]
    is_valid: Bool[BoolArray, "S M"]


@dataclass(frozen=True)
class Retrieval:
    """What a choice of memory needs to know of the model."""

    shape: TransformerConfig
    settings: RetrievalConfig
    bank: BankConfig
    intrinsics: Intrinsics


def plan_context(
    frame_poses: FramePoses, choice: MemoryChoice, retrieval: Retrieval, seed: int
) -> ContextPlan:
    """Return what the segments of a walk see.

    Args:
        frame_poses: c2w of every frame, the start frame's first.
        choice: the rule.
        retrieval: shapes and settings.
        seed: of what `random` draws.
    """
    shape = retrieval.shape
    memory = _memory(frame_poses, choice, retrieval, seed)
    num_segments = len(memory)
    chosen = np.zeros((num_segments, shape.num_context_latents), np.int64)
    is_valid = np.zeros(chosen.shape, bool)
    for segment, latents in enumerate(memory):
        start = _start(segment, shape)
        past = range(max(0, start - shape.num_past_latents), start)
        for slot, latent in enumerate(latents):
            chosen[segment, slot], is_valid[segment, slot] = latent, True
        at = slice(shape.num_context_latents - len(past), None)
        chosen[segment, at], is_valid[segment, at] = past, True
    return ContextPlan(chosen, is_valid)


def _memory(
    frame_poses: FramePoses, choice: MemoryChoice, retrieval: Retrieval, seed: int
) -> list[list[int]]:
    """Return the remembered latents of every segment."""
    shape = retrieval.shape
    poses = frame_poses[::TEMPORAL_STRIDE]
    segments = range((len(poses) - 1) // shape.segment_latents)
    if choice in ("ours", "held"):
        refresh = shape.memory_refresh_frames if choice == "ours" else _HELD_FRAMES
        return _ours(poses, len(segments), retrieval, refresh)
    generator = np.random.default_rng([0x6D656D, seed])
    found: list[list[int]] = []
    for segment in segments:
        start = _start(segment, shape)
        oldest_past = max(0, start - shape.num_past_latents)
        count = min(shape.num_memory_latents, oldest_past)
        if choice == "none" or not count:
            found.append([])
        elif choice == "random":
            others = 1 + generator.permutation(oldest_past - 1)[: count - 1]
            found.append([0, *others.tolist()])
        elif choice == "reference":
            found.append(_reference(frame_poses, start, oldest_past, shape))
        else:
            found.append(_nearest(poses, start, oldest_past, count, shape))
    return found


def _ours(
    poses: FramePoses, num_segments: int, retrieval: Retrieval, refresh_frames: int
) -> list[list[int]]:
    """Choose as a session does, with its bounded bank and its slots."""
    shape = retrieval.shape
    index = KeyframeIndex(retrieval.bank, retrieval.settings, retrieval.intrinsics)
    slots = MemorySlots(shape.num_memory_latents, refresh_frames)
    every = torch.from_numpy(np.ascontiguousarray(poses))
    index.append(every[0])
    found = []
    for segment in range(num_segments):
        start = _start(segment, shape)
        new = every[start : start + shape.segment_latents]
        oldest_past = max(0, start - shape.num_past_latents)
        chosen = index.query(new, shape.num_memory_latents, oldest_past).tolist()
        slots.update([latent for latent in chosen if latent != NO_LATENT], start)
        found.append([latent for latent in slots.latents if latent is not None])
        for pose in new:
            index.append(pose)
    return found


def _reference(
    frame_poses: FramePoses, start: int, oldest_past: int, shape: TransformerConfig
) -> list[int]:
    """Choose as Matrix-Game 3.0's code does, its five frames spread over what this adds."""
    end_frame = TEMPORAL_STRIDE * (start + shape.segment_latents - 1) + 1
    spread = shape.segment_frames / _REFERENCE_NEW_FRAMES
    offsets = [1 + int((offset - 1) * spread) for offset in QUERY_OFFSETS]
    queries = [end_frame - offset for offset in offsets[: shape.num_memory_latents]]
    candidates = frame_poses[1 : TEMPORAL_STRIDE * (oldest_past - 1) + 1]
    if not len(candidates):
        return [0]
    frames = 1 + reference_scores(frame_poses[queries], candidates).argmax(axis=1)
    frames[-1] = SINK_FRAME
    return [latent_of_frame(int(frame)) for frame in frames]


def _nearest(
    poses: FramePoses, start: int, oldest_past: int, count: int, shape: TransformerConfig
) -> list[int]:
    """Give each coming pose its nearest old one in turn, then the next nearest, while room is."""
    old = poses[:oldest_past]
    order = [
        np.argsort(np.linalg.norm(old[:, :3, 3] - pose[:3, 3], axis=1) + rotation_angle(old, pose))
        for pose in poses[start : start + shape.segment_latents]
    ]
    chosen: list[int] = []
    for latent in np.stack(order, axis=1).ravel().tolist():  # rank by rank
        if latent not in chosen:
            chosen.append(latent)
        if len(chosen) == count:
            break
    return chosen


def _start(segment: int, shape: TransformerConfig) -> int:
    return shape.first_segment_latents + segment * shape.segment_latents
