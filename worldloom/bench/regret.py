"""How much of a coming view is lost by what retrieval chooses, judged by exact volumes.

Each trial is a random walk; its candidates are the latents before the next segment's past, its
query one of that segment's five query frames. A way of choosing loses, of the best candidate's
exact overlap, the part that its own choice does not have. It knows how to ask ours, the
reference's and exact hulls; it does not know clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from worldloom.arrays import FloatArray
from worldloom.bench.exact_overlap import ExactOverlap
from worldloom.bench.walk import random_walk
from worldloom.camera import Intrinsics
from worldloom.frames import TEMPORAL_STRIDE, last_frame_of_latent
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.frustum import REFERENCE_FRUSTUM
from worldloom.memory.keyframe_index import KeyframeIndex
from worldloom.memory.reference import QUERY_OFFSETS, reference_scores
from worldloom.memory.retrieval import retrieve

# The reference's camera, 90 degrees both ways, so that all ways are judged by one frustum.
REFERENCE_INTRINSICS = Intrinsics(fx=640.0, fy=360.0, cx=640.0, cy=360.0)
REFERENCE_RETRIEVAL = RetrievalConfig(
    near_metres=REFERENCE_FRUSTUM.near_metres, far_metres=REFERENCE_FRUSTUM.far_metres
)
PAST_LATENTS = 4
SEGMENT_LATENTS = 10
FEWEST_LATENTS, MOST_LATENTS = 25, 100


@dataclass(frozen=True)
class Trial:
    """One question to retrieval.

    Attributes:
        query: c2w pose [4, 4] of a coming frame.
        candidates: c2w poses [L, 4, 4] of the latents that may be chosen, oldest first.
    """

    query: FloatArray
    candidates: FloatArray


@dataclass(frozen=True)
class Regret:
    """What each way of choosing loses, by trial, as a share of the best exact overlap."""

    ours: Float[FloatArray, " trials"]
    reference: Float[FloatArray, " trials"]


def latent_poses(frames: Float[FloatArray, "F 4 4"]) -> Float[FloatArray, "L 4 4"]:
    """Return the pose of each latent: that of its last frame."""
    return frames[:: last_frame_of_latent(1)]


def trials(num_trials: int, seed: int) -> Iterator[Trial]:
    """Give trials on walks of 25 to 100 latents, the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    for _ in range(num_trials):
        start = int(generator.integers(FEWEST_LATENTS, MOST_LATENTS + 1))
        end = last_frame_of_latent(start) + TEMPORAL_STRIDE * (SEGMENT_LATENTS - 1) + 1
        frames = random_walk(generator, end)
        query = frames[end - int(generator.choice(QUERY_OFFSETS))]
        yield Trial(query, latent_poses(frames)[: start - PAST_LATENTS])


def measure_regret(num_trials: int, seed: int) -> Regret:
    """Return what ours and the reference's first choices lose on trials in which any can win."""
    exact = ExactOverlap(REFERENCE_FRUSTUM)
    ours, reference = [], []
    for trial in trials(num_trials, seed):
        overlaps = exact.overlaps(trial.query, trial.candidates)
        best = float(overlaps.max())
        if best == 0.0:
            continue
        ours.append(1 - overlaps[first_choice(trial)] / best)
        reference.append(1 - overlaps[reference_choice(trial)] / best)
    return Regret(np.array(ours), np.array(reference))


def measure_eviction(bank: BankConfig, num_frames: int, num_queries: int, seed: int) -> FloatArray:
    """Return what a bounded bank loses against all past latents, at moments of one long walk.

    At each moment one query frame of the coming segment asks for the best latent; what the index
    takes first is compared with the best by exact volume of every latent that ever was.
    """
    exact = ExactOverlap(REFERENCE_FRUSTUM)
    generator = np.random.default_rng(seed)
    frames = random_walk(generator, num_frames)
    poses = latent_poses(frames)
    last_start = len(poses) - SEGMENT_LATENTS
    moments = set(np.linspace(last_start / num_queries, last_start, num_queries, dtype=int))
    index = KeyframeIndex(bank, REFERENCE_RETRIEVAL, REFERENCE_INTRINSICS)
    lost = []
    for start, pose in enumerate(torch.from_numpy(poses)):
        if start in moments:
            coming = poses[start + int(generator.integers(SEGMENT_LATENTS))]
            overlaps = exact.overlaps(coming, poses[: start - PAST_LATENTS])
            if overlaps.max() > 0:
                query = torch.from_numpy(coming)[None]
                chosen = int(index.query(query, 1, start - PAST_LATENTS, keep_sink=False))
                lost.append(1 - overlaps[chosen] / overlaps.max())
        index.append(pose)
    return np.array(lost)


def first_choice(trial: Trial) -> int:
    """Return the latent that ours takes first, with nothing kept for the sink.

    By the pure functions, which choose as a session's index does while it holds every latent.
    """
    [chosen] = retrieve(
        trial.query[None],
        trial.candidates,
        1,
        REFERENCE_RETRIEVAL,
        REFERENCE_INTRINSICS,
        keep_sink=False,
    )
    return chosen


def reference_choice(trial: Trial) -> int:
    """Return the latent that the reference's 1,000 points prefer, the oldest on ties."""
    return int(reference_scores(trial.query[None], trial.candidates).argmax())
