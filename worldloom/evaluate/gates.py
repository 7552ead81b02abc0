"""The gate: which releases may become champion.

Frames must be sound and the compressed model close to the full one, always. Without a champion a
release has to clear fixed bars; with one it may not be worse, beyond the interval of the paired
difference on the same clips and seeds, in any guarded figure. It does not know how figures are
measured or who moves the alias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from worldloom.config import Config
from worldloom.evaluate.interval import BootstrapConfig, Interval
from worldloom.evaluate.parity_report import ParityReport
from worldloom.evaluate.results import FIGURES, ClipResult, compare, summarise


class ParityBars(Config):
    """How close a compressed model must be to its original."""

    is_required: bool = Field(True, description="refuse a release without a parity report")
    min_latent_cosine: float = Field(0.95, ge=-1, le=1, description="least cosine of the latents")
    min_frame_psnr_db: float = Field(20.0, ge=0, description="least PSNR of the frames, decibels")


class GateConfig(Config):
    """The bars."""

    min_psnr_gain_db: float = Field(
        0.0, description="least PSNR above copying the last frame, decibels"
    )
    min_yaw_accuracy_ratio: float = Field(
        0.9, ge=0, le=1, description="least yaw sign accuracy, as a share of the recording's"
    )
    min_ground_truth_accuracy: float = Field(
        0.9, ge=0, le=1, description="least yaw sign accuracy on recordings, or nothing is judged"
    )
    min_divergence_ratio: float = Field(
        3.0, ge=0, description="least left-right divergence over noise divergence"
    )
    guarded: tuple[str, ...] = Field(
        ("psnr_db", "revisit_psnr_db", "yaw_sign_accuracy", "perceptual_distance"),
        description="figures in which a release may not be worse than the champion",
    )
    margins: dict[str, float] = Field(
        {"psnr_db": 0.1, "revisit_psnr_db": 0.1, "yaw_sign_accuracy": 0.01},
        description="how much worse is let pass, in each figure's own unit; absent is 0",
    )
    parity: ParityBars = Field(ParityBars(), description="the compressed model's bars")


class Bar(Config):
    """One bar and how the release did."""

    name: str = Field(description="what is asked")
    is_met: bool = Field(description="whether the release clears it")
    value: float | None = Field(description="the release's value; None where it has none")
    limit: float | None = Field(description="the least value, or the most; None for yes or no")
    sentence: str = Field(description="the same in words")


class Verdict(Config):
    """What the gate says."""

    verdict: Literal["pass", "refuse"] = Field(description="the decision")
    reasons: tuple[str, ...] = Field(
        description="a sentence for each bar that decided: those missed, or all when it passes"
    )
    bars: tuple[Bar, ...] = Field(description="every bar that was looked at")


def already_champion(release: str) -> Verdict:
    """Return the verdict on the champion itself."""
    sentence = f"already champion: {release} is the release that is served"
    bar = Bar(name="already_champion", is_met=True, value=None, limit=None, sentence=sentence)
    return Verdict(verdict="pass", reasons=(sentence,), bars=(bar,))


def judge(
    candidate: Sequence[ClipResult],
    champion: Sequence[ClipResult] | None,
    parity: ParityReport | None,
    *,
    gate: GateConfig,
    bootstrap: BootstrapConfig,
) -> Verdict:
    """Return the verdict on a release: against its champion, or against fixed bars without one."""
    if not candidate:
        message = "no clips were evaluated, expected at least one"
        raise ValueError(message)
    bars = [_soundness(candidate), *_parity_bars(parity, gate.parity)]
    if champion is None:
        bars += _fixed_bars(summarise(candidate, bootstrap), gate)
    else:
        bars += _paired_bars(compare(candidate, champion, bootstrap), gate)
    missed = tuple(bar.sentence for bar in bars if not bar.is_met)
    met = tuple(bar.sentence for bar in bars)
    return Verdict(verdict="refuse" if missed else "pass", reasons=missed or met, bars=tuple(bars))


def _soundness(clips: Sequence[ClipResult]) -> Bar:
    broken = [clip.clip_id for clip in clips if not clip.is_sound]
    sentence = (
        f"frames of {', '.join(broken)} are flat or of a wrong shape"
        if broken
        else f"all frames of {len(clips)} clips are sound"
    )
    return Bar(
        name="sound_frames",
        is_met=not broken,
        value=float(len(clips) - len(broken)),
        limit=float(len(clips)),
        sentence=sentence,
    )


def _parity_bars(parity: ParityReport | None, bars: ParityBars) -> list[Bar]:
    if parity is None:
        sentence = "the release carries no parity report of its compression"
        return [
            Bar(
                name="parity",
                is_met=not bars.is_required,
                value=None,
                limit=None,
                sentence=sentence,
            )
        ]
    return [
        _at_least(
            "parity_latent_cosine",
            parity.latent_cosine,
            bars.min_latent_cosine,
            "cosine of the compressed model's latents",
            digits=4,
        ),
        _at_least(
            "parity_frame_psnr_db",
            parity.frame_psnr_db,
            bars.min_frame_psnr_db,
            "PSNR in dB of the compressed model's frames to the full one's",
        ),
    ]


def _fixed_bars(figures: Mapping[str, Interval], gate: GateConfig) -> list[Bar]:
    means = {name: interval.mean for name, interval in figures.items()}
    bars = [
        _at_least(
            "beats_copy_last_frame",
            means["psnr_db"],
            means["copy_last_frame_psnr_db"] + gate.min_psnr_gain_db,
            "PSNR in dB against that of copying the last frame",
            is_strict=True,
        )
    ]
    truth = means.get("yaw_sign_accuracy_ground_truth")
    bars.append(
        _at_least(
            "yaw_is_measurable",
            truth,
            gate.min_ground_truth_accuracy,
            "yaw sign accuracy on the recordings themselves",
        )
    )
    bars.append(
        _at_least(
            "obeys_turns",
            means.get("yaw_sign_accuracy"),
            gate.min_yaw_accuracy_ratio * (truth or 1.0),
            "yaw sign accuracy against the recordings'",
        )
    )
    bars.append(
        _at_least(
            "left_is_not_right",
            means["left_right_divergence"],
            gate.min_divergence_ratio * means["noise_divergence"],
            "left-right divergence in 8-bit levels against that of two seeds on what was seen",
            is_strict=True,
        )
    )
    return bars


def _paired_bars(differences: Mapping[str, Interval], gate: GateConfig) -> list[Bar]:
    if not differences:
        sentence = "no clip was evaluated with both the release and the champion"
        return [Bar(name="paired_clips", is_met=False, value=0.0, limit=1.0, sentence=sentence)]
    return [
        _not_worse(name, differences[name], gate.margins.get(name, 0.0))
        for name in gate.guarded
        if name in differences
    ]


def _not_worse(name: str, difference: Interval, margin: float) -> Bar:
    """Return the bar that a figure's difference to the champion's is not surely worse."""
    sign = -1 if FIGURES[name].higher_is_better is False else 1
    best = max(sign * difference.low, sign * difference.high)
    is_met = best >= -margin
    word = "not surely worse" if is_met else "surely worse"
    unit = f" {FIGURES[name].unit}" if FIGURES[name].unit else ""
    sentence = (
        f"{name} differs from the champion's by {difference.mean:+.3f}{unit}"
        f" [{difference.low:+.3f}, {difference.high:+.3f}] over {difference.num_clips} paired"
        f" clips: {word}, margin {margin:g}"
    )
    return Bar(
        name=f"{name}_against_champion",
        is_met=is_met,
        value=difference.mean,
        limit=-sign * margin,
        sentence=sentence,
    )


def _at_least(
    name: str,
    value: float | None,
    limit: float,
    what: str,
    *,
    digits: int = 2,
    is_strict: bool = False,
) -> Bar:
    if value is None:
        sentence = f"{what}: no clip has a value, expected at least {limit:.{digits}f}"
        return Bar(name=name, is_met=False, value=None, limit=limit, sentence=sentence)
    is_met = value > limit if is_strict else value >= limit
    relation = "above" if is_strict else "at least"
    told = f"{relation} {limit:.{digits}f}" if is_met else f"expected {relation} {limit:.{digits}f}"
    sentence = f"{what}: {value:.{digits}f}, {told}"
    return Bar(name=name, is_met=is_met, value=value, limit=limit, sentence=sentence)
