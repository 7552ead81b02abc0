"""What memory costs and how well it chooses: query times, their growth, and regret.

It compares ours (the keyframe index), the reference's point sampling and exact hulls on walks at
the reference's kinematics. It does not know how a report is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from worldloom.arrays import FloatArray
from worldloom.bench.exact_overlap import ExactOverlap
from worldloom.bench.record import (
    Bar,
    BenchReport,
    Measurement,
    measured,
    this_machine,
    timed_in_turns,
)
from worldloom.bench.regret import (
    PAST_LATENTS,
    REFERENCE_INTRINSICS,
    REFERENCE_RETRIEVAL,
    latent_poses,
    measure_eviction,
    measure_regret,
)
from worldloom.bench.walk import random_walk
from worldloom.config import Config
from worldloom.frames import REFERENCE_NEW_FRAMES, REFERENCE_WINDOW_FRAMES
from worldloom.memory.config import BankConfig
from worldloom.memory.frustum import REFERENCE_FRUSTUM
from worldloom.memory.keyframe_index import KeyframeIndex
from worldloom.memory.reference import best_frames, query_frames

NUM_MEMORY_LATENTS = 5
LEAST_SPEEDUP = 50.0
MOST_GROWTH = 1.2
MOST_REGRET = 0.05
_REPEATS_OF_OURS = 20  # in a turn, after hulls have emptied the caches


class MemoryBenchConfig(Config):
    """How much is measured."""

    num_trajectories: int = Field(1000, ge=1, description="walks on which regret is measured")
    num_samples: int = Field(200, ge=1, description="times of a query of ours at each length")
    num_hull_samples: int = Field(10, ge=1, description="times of a query by exact hulls")
    num_warmup: int = Field(20, ge=0, description="queries thrown away first; 1 of hulls")
    num_evictions: int = Field(50, ge=1, description="moments of a long walk that are judged")
    hull_frames: int = Field(500, ge=60, description="frames at which hulls are compared with")
    few_frames: int = Field(100, ge=60, description="frames of a short session")
    many_frames: int = Field(10_000, ge=60, description="frames of a long session")
    seed: int = Field(0, ge=0, description="seed of the walks")
    bank: BankConfig = Field(default_factory=BankConfig, description="what a session holds")


class Situation:
    """A walk of some frames that is about to go on for a segment."""

    def __init__(self, num_frames: int, config: MemoryBenchConfig, device: torch.device) -> None:
        """Walk and fill an index with what a session would have appended."""
        self.end = num_frames + REFERENCE_NEW_FRAMES
        self.start = self.end - REFERENCE_WINDOW_FRAMES
        self.frames = random_walk(np.random.default_rng(config.seed), self.end)
        self.queries = query_frames(self.end)
        self.query_poses = torch.from_numpy(self.frames[self.queries]).to(device)
        past = latent_poses(self.frames[:num_frames])
        self.first_excluded = len(past) - PAST_LATENTS
        self.candidates: Float[FloatArray, "L 4 4"] = past[: self.first_excluded]
        self.index = KeyframeIndex(config.bank, REFERENCE_RETRIEVAL, REFERENCE_INTRINSICS, device)
        for pose in torch.from_numpy(past).to(device):
            self.index.append(pose)

    def ask_ours(self) -> object:
        """Choose five latents by the index; on an accelerator without waiting for it."""
        return self.index.query(self.query_poses, NUM_MEMORY_LATENTS, self.first_excluded)

    def append_next(self) -> object:
        """Append one more latent to the index: a view of the coming segment."""
        return self.index.append(self.query_poses[len(self.index) % len(self.query_poses)])

    def ask_reference(self) -> object:
        """Choose five frames by the reference's points, over every past frame."""
        return best_frames(self.frames, self.start, self.queries)

    def ask_hulls(self) -> object:
        """Choose five latents by exact hulls, over every past latent."""
        exact = ExactOverlap(REFERENCE_FRUSTUM)
        return [
            int(exact.overlaps(self.frames[query], self.candidates).argmax())
            for query in self.queries
        ]


def measure_memory(config: MemoryBenchConfig, device: torch.device, command: str) -> BenchReport:
    """Measure everything and return the report with its bars."""
    ways = _time_ways(config, device)
    lengths = _time_lengths(config, device)
    regret = measure_regret(config.num_trajectories, config.seed)
    kept = measure_eviction(config.bank, config.many_frames, config.num_evictions, config.seed)
    shares = {
        "ours, first choice": regret.ours,
        "reference points, first choice": regret.reference,
        f"ours, bounded, along {config.many_frames} frames": kept,
    }
    lost = [
        measured(f"exact overlap lost: {name}", "share", values.tolist())
        for name, values in shares.items()
    ]
    bars = (
        Bar(
            name=f"query at {config.hull_frames} frames, exact hulls over ours (medians)",
            value=ways[2].median / ways[0].median,
            limit=LEAST_SPEEDUP,
            sense="at least",
            unit="times",
        ),
        Bar(
            name=f"query at {config.many_frames} over {config.few_frames} frames (median of pairs)",
            value=lengths[2].median,
            limit=MOST_GROWTH,
            sense="at most",
            unit="times",
        ),
        Bar(
            name="exact overlap lost by ours (mean)",
            value=lost[0].mean,
            limit=MOST_REGRET,
            sense="at most",
            unit="share",
        ),
    )
    return BenchReport(
        title="Memory retrieval",
        command=command,
        notes=_notes(config),
        machine=this_machine(device),
        measurements=(*ways, *lengths, *lost),
        bars=bars,
    )


def _time_ways(config: MemoryBenchConfig, device: torch.device) -> list[Measurement]:
    """Time ours, the reference's points and exact hulls in turns, on one walk."""
    situation = Situation(config.hull_frames, config, device)
    tasks: dict[str, Callable[[], object]] = {
        "ours": situation.ask_ours,
        "reference points": situation.ask_reference,
        "exact hulls": situation.ask_hulls,
    }
    repeats = {"ours": _REPEATS_OF_OURS}
    seconds = timed_in_turns(
        tasks, num_samples=config.num_hull_samples, num_warmup=1, device=device, repeats=repeats
    )
    return [
        measured(
            f"query at {config.hull_frames} frames, {name}",
            "s",
            values,
            num_warmup=repeats.get(name, 1),
        )
        for name, values in seconds.items()
    ]


def _time_lengths(config: MemoryBenchConfig, device: torch.device) -> list[Measurement]:
    """Time queries, then appends, of a short and of a long session in turns, with their ratio."""
    few, many = (
        Situation(frames, config, device) for frames in (config.few_frames, config.many_frames)
    )
    tasks: Mapping[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "query": (few.ask_ours, many.ask_ours),
        "append": (few.append_next, many.append_next),
    }
    found = []
    for what, (of_few, of_many) in tasks.items():
        names = [f"ours, {what} at {n} frames" for n in (config.few_frames, config.many_frames)]
        seconds = timed_in_turns(
            dict(zip(names, (of_few, of_many), strict=True)),
            num_samples=config.num_samples,
            num_warmup=config.num_warmup,
            device=device,
        )
        pairs = zip(*(seconds[name] for name in names), strict=True)
        ratios = [later / earlier for earlier, later in pairs]
        ratio = f"ours, {what}, long over short session of the same turn"
        found += [
            *(measured(name, "s", seconds[name], num_warmup=config.num_warmup) for name in names),
            measured(ratio, "ratio", ratios, num_warmup=config.num_warmup),
        ]
    return found


def _notes(config: MemoryBenchConfig) -> tuple[str, ...]:
    points, bank = REFERENCE_RETRIEVAL.num_points, config.bank
    return (
        "Walks at the reference's kinematics (0.1235 m and up to 1.5 degrees a frame, a new action"
        f" every 12 frames), seed {config.seed}; frusta of 90 degrees both ways, 0.1 to 30 m.",
        f"A query asks for {NUM_MEMORY_LATENTS} memory latents of the next segment's five query"
        " frames; things compared take turns in one process.",
        f"Ours: {points} points a query frame, {bank.capacity} slots, float64. Reference points:"
        " 1,000 points a query frame, over every past frame. Exact hulls: over every past latent,"
        " those that a face parts left out at once.",
        "Overlap lost by first choice: one query frame a walk of 25 to 100 latents; the first"
        " latent chosen, with none kept for the sink, against the best one by exact volume.",
        f"Overlap lost by a bounded bank: {config.num_evictions} moments of one walk; what is left"
        " to choose from against every latent that ever was.",
    )
