"""What else is tried on the recordings of a walk, beside walking it: pasts that were given.

    forced     teacher forcing: every segment is made behind the recorded past, none behind its
               own. What a walk loses against it is what its own errors cost, however much of the
               way is novel.
    corrupted  the first segments are given, clean or spoilt, and the walk goes on from there. What
               it loses against the clean start, at once and some segments later, is what errors in
               its context do to it, whatever it would have got wrong itself.

Pasts are spoilt in three ways: noise on latents; blurred recordings; the model's own one-step
estimates of the recorded latents. It does not know arms, or how films are judged otherwise.

Letters: B walks, L latents, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from worldloom.config import Config
from worldloom.data.schema import Clip
from worldloom.evaluate.drift import drift_slope, segment_means
from worldloom.evaluate.video_quality import Frames, psnr_db
from worldloom.experiments.memory_plan import ContextPlan
from worldloom.experiments.walks import (
    GivenPast,
    cut_short,
    films,
    recorded_latents,
    to_frames,
    walk,
)
from worldloom.rollout.world_model import WorldModel

Probe = Literal["forced", "corrupted"]
Values = dict[str, float | None]

CORRUPTIONS = ("noise", "blur", "estimate")
_NOISE_SEED = 0x6E6F6973
_WALKS_AT_ONCE = 8


class ProbeConfig(Config):
    """How pasts are spoilt, and for how long walks go on behind them."""

    given_segments: int = Field(2, ge=1, description="segments that are given, clean or spoilt")
    more_segments: int = Field(4, ge=2, description="segments that the walk then goes on for")
    noise_strength: float = Field(
        0.5, gt=0, description="standard deviation of noise on latents, whose own is about 1"
    )
    blur_pixels: float = Field(1.5, gt=0, description="sigma of the blur of recordings, pixels")
    estimate_sigma: float = Field(
        0.9, gt=0, le=1, description="noise level from which the model estimates latents in a step"
    )


@dataclass(frozen=True)
class Walks:
    """Walks of one arm: what they are told, and what came of them.

    Attributes:
        model: who walks.
        cases: recordings.
        plans: what each one's segments see.
        seeds: each one's noise.
        encode: a recording's latents [1, C, L, H, W] of frames [1, 3, F, H, W].
        made: the films of the walks, of their own past.
        given_segments: how many first segments of these films were recorded.
    """

    model: WorldModel
    cases: Sequence[Clip]
    plans: Sequence[ContextPlan]
    seeds: Sequence[int]
    encode: Callable[[Tensor], Tensor]
    made: Sequence[Frames]
    given_segments: int = 0

    @property
    def segment_frames(self) -> int:
        """Frames of a segment."""
        return self.model.segment_frames


def probed(walks: Walks, probes: Sequence[Probe], config: ProbeConfig) -> list[Values]:
    """Return the figures of every walk's probes, walk by walk; None where one was not asked for."""
    empty: Values = dict.fromkeys(figure_names())
    found = [dict(empty) for _ in walks.cases]
    if not probes:
        return found
    recorded = recorded_latents(walks.model, walks.encode, [c.frames for c in walks.cases])
    if "forced" in probes:
        for values, more in zip(found, _forced(walks, recorded), strict=True):
            values.update(more)
    if "corrupted" in probes:
        for values, more in zip(found, _corrupted(walks, recorded, config), strict=True):
            values.update(more)
    return found


def figure_names() -> list[str]:
    """Return the names of all figures of probes."""
    names = ["forced_psnr_db", "forced_first_frame_psnr_db", "own_past_loss_db"]
    names += ["own_past_slope_db_per_segment", "given_psnr_db"]
    return names + [
        f"{kind}_{name}" for kind in CORRUPTIONS for name in ("loss_db", "loss_left_db")
    ]


def _forced(walks: Walks, recorded: Float[Tensor, "B L C H W"]) -> list[Values]:
    given = GivenPast(recorded, is_forced=True)
    latents = walk(walks.model, walks.cases, walks.plans, walks.seeds, given).latents
    size = walks.segment_frames
    first = 1 + walks.given_segments * size
    found: list[Values] = []
    for case, film, own in zip(
        walks.cases, _each_alone(walks.model, latents, recorded), walks.made, strict=True
    ):
        forced, mine = (psnr_db(frames, case.frames)[first:] for frames in (film, own))
        gaps = np.array(segment_means(mine, size)) - np.array(segment_means(forced, size))
        found.append(
            {
                "forced_psnr_db": float(forced.mean()),
                "forced_first_frame_psnr_db": float(forced[::size].mean()),
                "own_past_loss_db": float(-gaps.mean()),
                "own_past_slope_db_per_segment": drift_slope(gaps.tolist()),
            }
        )
    return found


def _corrupted(
    walks: Walks, recorded: Float[Tensor, "B L C H W"], config: ProbeConfig
) -> list[Values]:
    given, size = config.given_segments, walks.segment_frames
    whole = min(given + config.more_segments, len(walks.plans[0].chosen))
    short = [cut_short(case, 1 + whole * size) for case in walks.cases]
    if whole <= given + 1:
        return [{} for _ in short]
    plans = [ContextPlan(p.chosen[:whole], p.is_valid[:whole]) for p in walks.plans]

    def behind(latents: Float[Tensor, "B L C H W"]) -> list[list[float]]:
        past = GivenPast(latents, num_segments=given)
        made = films(walks.model, walk(walks.model, short, plans, walks.seeds, past).latents)
        psnr = [psnr_db(film, case.frames)[1:] for film, case in zip(made, short, strict=True)]
        return [segment_means(values, size)[given:] for values in psnr]

    clean = behind(recorded)
    found: list[Values] = [{"given_psnr_db": float(np.mean(values))} for values in clean]
    for kind, latents in _spoilt(walks, recorded, config).items():
        for values, best, worse in zip(found, clean, behind(latents), strict=True):
            values[f"{kind}_loss_db"] = best[0] - worse[0]
            values[f"{kind}_loss_left_db"] = best[-1] - worse[-1]
    return found


def _spoilt(
    walks: Walks, recorded: Float[Tensor, "B L C H W"], config: ProbeConfig
) -> Mapping[str, Float[Tensor, "B L C H W"]]:
    noise = [
        torch.randn(recorded.shape[1:], generator=torch.Generator().manual_seed(seed ^ _NOISE_SEED))
        for seed in walks.seeds
    ]
    blurred = [
        np.stack([cv2.GaussianBlur(frame, (0, 0), config.blur_pixels) for frame in case.frames])
        for case in walks.cases
    ]
    estimated = GivenPast(recorded, is_forced=True, start_sigma=config.estimate_sigma)
    return {
        "noise": recorded + config.noise_strength * torch.stack(noise),
        "blur": recorded_latents(walks.model, walks.encode, blurred),
        "estimate": walk(walks.model, walks.cases, walks.plans, walks.seeds, estimated).latents,
    }


@torch.inference_mode()
def _each_alone(
    model: WorldModel, latents: Float[Tensor, "B L C H W"], recorded: Float[Tensor, "B L C H W"]
) -> list[Frames]:
    """Return the films of forced walks, each segment decoded behind the recorded ones."""
    size = model.transformer.config.segment_latents
    made: list[Frames] = []
    pairs = zip(latents.split(_WALKS_AT_ONCE), recorded.split(_WALKS_AT_ONCE), strict=True)
    for own, true in pairs:
        first, cache = model.decoder(true[:, :1].transpose(1, 2).to(model.device))
        parts = [to_frames(first)]
        for start in range(1, own.shape[1], size):
            at = slice(start, start + size)
            video, _ = model.decoder(own[:, at].transpose(1, 2).to(model.device), cache)
            _, cache = model.decoder(true[:, at].transpose(1, 2).to(model.device), cache)
            parts.append(to_frames(video))
        made += [frames.numpy() for frames in torch.cat(parts, dim=1)]
    return made
