"""Times a segment of walks that are compared, in turns: a machine is seldom as fast a minute later.

It does not know arms or cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import Field

from worldloom.config import Config
from worldloom.evaluate.latency import LatencySummary, summarise_seconds
from worldloom.experiments.walks import Walked

_ROUNDS = 2
_WARM_UP_SEGMENTS = 2  # of every walk


class Times(Config):
    """How long a segment of one walk alone takes."""

    segment: LatencySummary = Field(description="seconds a segment, decoding left out")
    denoise_seconds: float = Field(
        ge=0, description="median seconds of its denoising, committing left out too"
    )


def frames_to_time(num_segments: int, segment_frames: int) -> int:
    """Return how many frames a walk has of which so many segments are timed, warm-up included."""
    return 1 + (_WARM_UP_SEGMENTS + num_segments) * segment_frames


def timed_in_turns(walks: Sequence[Callable[[], Walked]]) -> list[Times]:
    """Return the times of walks that are walked one after another, round after round.

    The first segments of every walk warm up and are left out; its last one counts always.
    """
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in walks]
    for _ in range(_ROUNDS):
        for walked, (segments, denoising) in zip((walk() for walk in walks), taken, strict=True):
            first = min(_WARM_UP_SEGMENTS, len(walked.segment_seconds) - 1)
            segments += walked.segment_seconds[first:]
            denoising += walked.denoise_seconds[first:]
    return [
        Times(
            segment=summarise_seconds(segments),
            denoise_seconds=summarise_seconds(denoising).p50_seconds,
        )
        for segments, denoising in taken
    ]
