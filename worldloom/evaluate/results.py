"""What the suite found: a record a clip, and the figures that summarise them.

A figure is a named ratio of sums over clips with its direction. Times are no part of it, since the
same release on the same clips must give the same results. It does not know how they are measured
nor which values are good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from worldloom.config import Config
from worldloom.evaluate.interval import (
    BootstrapConfig,
    Fraction,
    Interval,
    bootstrap,
    bootstrap_difference,
)


class ClipResult(Config):
    """One clip's rollout beside its recording."""

    clip_id: str = Field(description="the clip")
    source: str = Field(description="what recorded it")
    world: str = Field(description="the world it was recorded in")
    trajectory: str = Field(description="kind of path")
    seed: int = Field(ge=0, description="seed of the rollout's noise")
    num_frames: int = Field(ge=1, description="frames generated")
    is_sound: bool = Field(description="every frame has the right type and shape and is not flat")
    psnr_db: float = Field(description="mean over frames, decibels")
    copy_last_frame_psnr_db: float = Field(
        description="the same for repeating the start frame, the last one the model saw"
    )
    ssim: float = Field(description="mean structural similarity")
    perceptual_distance: float = Field(ge=0, description="mean distance in random features")
    sharpness_ratio: float = Field(ge=0, description="high-frequency energy over the recording's")
    segment_psnr_db: tuple[float, ...] = Field(description="mean of each segment, decibels")
    drift_db_per_segment: float | None = Field(description="slope over segments; None for one")
    num_revisits: int = Field(ge=0, description="frames that come back to an earlier view")
    revisit_psnr_db: float | None = Field(description="mean over these, decibels; None without")
    self_consistency_psnr_db: float | None = Field(
        description="these against the model's own earlier view, decibels; None without"
    )
    num_turning_pairs: int = Field(ge=0, description="frame pairs across a steady turn")
    num_right_yaw_signs: int = Field(ge=0, description="pairs whose turn the model shows")
    num_right_yaw_signs_ground_truth: int = Field(
        ge=0, description="pairs whose turn is read off the recording"
    )
    left_right_divergence: float = Field(
        ge=0, description="mean 8-bit distance between turning left and right, one seed"
    )
    noise_divergence: float = Field(
        ge=0,
        description="mean 8-bit distance between two seeds, one turn, where the start image is "
        "still in view",
    )


@dataclass(frozen=True)
class Figure:
    """A figure over clips."""

    unit: str
    higher_is_better: bool | None  # None: neither, it is read beside others
    fraction: Callable[[ClipResult], Fraction | None]


def _mean(value: Callable[[ClipResult], float | None]) -> Callable[[ClipResult], Fraction | None]:
    def fraction(clip: ClipResult) -> Fraction | None:
        found = value(clip)
        return None if found is None else Fraction(numerator=found, denominator=1)

    return fraction


def _share(count: Callable[[ClipResult], int]) -> Callable[[ClipResult], Fraction | None]:
    def fraction(clip: ClipResult) -> Fraction | None:
        if not clip.num_turning_pairs:
            return None
        return Fraction(numerator=count(clip), denominator=clip.num_turning_pairs)

    return fraction


FIGURES: Mapping[str, Figure] = {
    "psnr_db": Figure("dB", True, _mean(lambda clip: clip.psnr_db)),
    "copy_last_frame_psnr_db": Figure("dB", None, _mean(lambda c: c.copy_last_frame_psnr_db)),
    "ssim": Figure("", True, _mean(lambda clip: clip.ssim)),
    "perceptual_distance": Figure("", False, _mean(lambda clip: clip.perceptual_distance)),
    "sharpness_ratio": Figure("x", None, _mean(lambda clip: clip.sharpness_ratio)),
    "drift_db_per_segment": Figure("dB", True, _mean(lambda clip: clip.drift_db_per_segment)),
    "revisit_psnr_db": Figure("dB", True, _mean(lambda clip: clip.revisit_psnr_db)),
    "self_consistency_psnr_db": Figure("dB", True, _mean(lambda c: c.self_consistency_psnr_db)),
    "yaw_sign_accuracy": Figure("", True, _share(lambda clip: clip.num_right_yaw_signs)),
    "yaw_sign_accuracy_ground_truth": Figure(
        "", None, _share(lambda clip: clip.num_right_yaw_signs_ground_truth)
    ),
    "left_right_divergence": Figure("levels", True, _mean(lambda c: c.left_right_divergence)),
    "noise_divergence": Figure("levels", None, _mean(lambda clip: clip.noise_divergence)),
}


def summarise(clips: Sequence[ClipResult], config: BootstrapConfig) -> dict[str, Interval]:
    """Return every figure that has a value, with its interval."""
    found = {}
    for name, figure in FIGURES.items():
        fractions = [figure.fraction(clip) for clip in clips]
        interval = bootstrap([part for part in fractions if part is not None], config)
        if interval is not None:
            found[name] = interval
    return found


def compare(
    candidate: Sequence[ClipResult], champion: Sequence[ClipResult], config: BootstrapConfig
) -> dict[str, Interval]:
    """Return candidate minus champion of every figure, over the clips that both have.

    Raises:
        ValueError: when a pair of rollouts had different seeds or lengths.
    """
    others = {clip.clip_id: clip for clip in champion}
    pairs = [(clip, others[clip.clip_id]) for clip in candidate if clip.clip_id in others]
    for clip, other in pairs:
        if (clip.seed, clip.num_frames) != (other.seed, other.num_frames):
            message = (
                f"clip {clip.clip_id}: seed {clip.seed} and {clip.num_frames} frames against"
                f" {other.seed} and {other.num_frames}, expected paired rollouts"
            )
            raise ValueError(message)
    found = {}
    for name, figure in FIGURES.items():
        both = [(figure.fraction(clip), figure.fraction(other)) for clip, other in pairs]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        interval = bootstrap_difference([a for a, _ in known], [b for _, b in known], config)
        if interval is not None:
            found[name] = interval
    return found
