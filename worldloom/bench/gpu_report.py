"""What was played on a GPU as figures, bars and a table.

It does not measure anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from worldloom.bench.live import PlayedSegment
from worldloom.bench.record import Bar, Measurement, Table, measured

MOST_DRIFT = 1.02
_MINUTE = 60.0
_TERA = 1e12
_GIB = 1 << 30
ALL_ON = "all on"
FULL_LINEARS = "linear layers in bf16"
PLAIN = "plain passes"
TWO_STEPS = "option: 2 steps"


@dataclass(frozen=True)
class Floors:
    """What a preset must reach on one GPU; None asks nothing."""

    frames_per_second: float | None = None
    teraflops: float | None = None
    latency_p95_ms: float | None = None
    gain_of_8_bits: float | None = None


_STREAM = "stream-5b"
_REFERENCE = "mg3-5b"


def floors_of(preset_name: str, *, segment_latents: int, is_default_shape: bool) -> Floors:
    """Return what a preset must reach on one GPU of the H100's kind."""
    if preset_name == _STREAM and segment_latents == 1:
        return Floors(latency_p95_ms=250.0)
    if preset_name == _STREAM and is_default_shape:
        return Floors(frames_per_second=45.0, teraflops=650.0, gain_of_8_bits=1.2)
    if preset_name == _REFERENCE and is_default_shape:
        return Floors(frames_per_second=30.0)
    return Floors()


@dataclass(frozen=True)
class Played:
    """The segments that were played, in order."""

    segments: tuple[PlayedSegment, ...]
    num_warmup: int

    @property
    def frames_per_second(self) -> float:
        """Encoded frames by the time from the first to the last."""
        first, last = self.segments[0], self.segments[-1]
        frames = sum(segment.num_frames for segment in self.segments[1:])
        return frames / (last.all_encoded - first.all_encoded)

    @property
    def segment_seconds(self) -> list[float]:
        """Time from one segment's beginning to the next's."""
        return [b.begun - a.begun for a, b in pairwise(self.segments)]

    @property
    def drift(self) -> float:
        """A segment's median time in the last minute over that in the first; 1 if shorter."""
        times = np.array([segment.begun for segment in self.segments[1:]])
        seconds = np.array(self.segment_seconds)
        if times[-1] - times[0] < 2 * _MINUTE:
            return 1.0
        first = seconds[times < times[0] + _MINUTE]
        last = seconds[times > times[-1] - _MINUTE]
        return float(np.median(last) / np.median(first))

    @property
    def minutes(self) -> list[list[float]]:
        """Times of the segments of each whole minute, seconds; none for less than two."""
        begun = np.array([segment.begun for segment in self.segments[1:]])
        minute_of = ((begun - begun[0]) // _MINUTE).astype(int)
        seconds = np.array(self.segment_seconds)
        # The last segment of what was played ends after the time is over, so its minute is whole.
        count = round((begun[-1] - begun[0]) / _MINUTE)
        return [list(seconds[minute_of == minute]) for minute in range(count)] if count > 1 else []

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What a player meets."""
        latency = [1e3 * (s.first_encoded - s.acted) for s in self.segments]
        encoding = [1e3 * (s.first_encoded - s.begun) for s in self.segments]
        size = [s.num_bytes / s.num_frames / 1024 for s in self.segments]
        spent = [1e3 * seconds for seconds in self.segment_seconds]
        warmup = self.num_warmup
        return tuple(
            measured(name, unit, [0.0] * warmup + values, num_warmup=warmup)
            for name, unit, values in (
                ("segment, from one's beginning to the next's", "ms", spent),
                ("segment begun to its first frame encoded", "ms", encoding),
                ("action to the first encoded frame that obeys it", "ms", latency),
                ("encoded frame", "KiB", size),
            )
        )


def notes_of(played: Played, peak_bytes: int, choices: Sequence[str]) -> tuple[str, ...]:
    """Return how it was played, in sentences."""
    seconds = played.segments[-1].all_encoded - played.segments[0].all_encoded
    frames = sum(segment.num_frames for segment in played.segments)
    return (
        "Weights are random; the decoder lacks 75 % of its channels; actions, camera, memory and "
        "JPEG on CPU threads are in every figure of what was played.",
        *(f"{choice}." for choice in choices),
        f"Played: {frames} frames in {seconds:.1f} s, {played.frames_per_second:.2f} frames a "
        "second from the action to the encoded frame.",
        f"Most memory allocated: {peak_bytes / _GIB:.1f} GiB.",
        f"Time a segment, last minute over first: {played.drift:.4f}.",
    )


def relative_error(expected: Shaped[Tensor, ...], found: Shaped[Tensor, ...]) -> float:
    """Return how far apart they are, of what was expected."""
    return float((found - expected).norm() / expected.norm())


def parity_note(expected: Tensor, found: Tensor) -> str:
    """Return how far one step's velocity is from that of the plain passes, in a sentence."""
    return (
        "Velocity of one step against the plain passes in bf16: relative error "
        f"{relative_error(expected, found):.4f} "
        "(random weights, whose errors nothing has learned to absorb)."
    )


def rate_of(step: Measurement, operations: int) -> str:
    """Return a step's rate by the model's own count of operations."""
    return (
        f"Denoise step: {operations / _TERA:.4g} TFLOP by the model's own count, "
        f"{teraflops(step, operations):.4g} TFLOP/s."
    )


def teraflops(step: Measurement, operations: int) -> float:
    """Return operations by a step's median time, in TFLOP/s."""
    return operations / (step.median / 1e3) / _TERA


def bars_of(
    played: Played,
    floors: Floors,
    step: Measurement,
    operations: int,
    rows: Sequence[tuple[str, Played]],
) -> tuple[Bar, ...]:
    """Return what had to be reached."""
    latency = next(m for m in played.measurements if m.name.startswith("action to"))
    by_name = {name: row.frames_per_second for name, row in rows}
    gain = by_name.get(ALL_ON, 0.0) / by_name.get(FULL_LINEARS, 1.0)
    asked = (
        ("frames a second, action to encoded frame", played.frames_per_second,
         floors.frames_per_second, "at least", ""),
        ("rate of a denoise step", teraflops(step, operations), floors.teraflops, "at least",
         "TFLOP/s"),
        ("action to the first frame that obeys it, p95", latency.p95, floors.latency_p95_ms,
         "at most", "ms"),
        ("8-bit layers over bf16, whole loop", gain, floors.gain_of_8_bits if rows else None,
         "at least", "times"),
        ("time a segment, last minute over first", played.drift, MOST_DRIFT, "at most", "times"),
    )  # fmt: skip
    return tuple(
        Bar.model_validate(
            {"name": name, "value": value, "limit": limit, "sense": sense, "unit": unit}
        )
        for name, value, limit, sense, unit in asked
        if limit is not None
    )


def minutes_table(played: Played) -> Table:
    """Return a segment's time in every minute, beside that of the first."""
    first = float(np.median(played.minutes[0]))
    return Table(
        title="Minute by minute",
        columns=("minute", "n", "segment, median ms", "p95 ms", "mean ms", "median of the first"),
        rows=tuple(
            (
                str(number),
                str(len(seconds)),
                f"{1e3 * np.median(seconds):.1f}",
                f"{1e3 * np.percentile(seconds, 95):.1f}",
                f"{1e3 * np.mean(seconds):.1f}",
                f"{np.median(seconds) / first:.4f}",
            )
            for number, seconds in enumerate(played.minutes, 1)
        ),
    )


def ablation_table(rows: Sequence[tuple[str, Played]]) -> Table:
    """Return the rows beside the first, in which all is on."""
    base = rows[0][1].frames_per_second
    return Table(
        title="One thing off at a time",
        columns=("what", "frames a second", "segment, median ms", "n", "of all on"),
        rows=tuple(
            (
                name,
                f"{played.frames_per_second:.1f}",
                f"{1e3 * float(np.median(played.segment_seconds)):.1f}",
                str(len(played.segment_seconds)),
                f"{played.frames_per_second / base:.2f}",
            )
            for name, played in rows
        ),
    )
