"""Every figure of a walk: what a model's film is worth beside the recording of the same walk.

What only hangs on the recording (masks, revisits, what the instruments read off it) is worked out
once a case and serves all arms. A figure that a walk cannot have (a revisit on a way that leads on,
depth in a world that tells none) is None. It does not know arms, seeds or tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from worldloom.arrays import BoolArray, FloatArray, IntArray
from worldloom.camera import Kinematics
from worldloom.config import Config
from worldloom.data.schema import Clip
from worldloom.data.sources.agent import LAP_FRAMES
from worldloom.data.sources.procedural import world_from_seed
from worldloom.evaluate.config import PerceptualConfig, RevisitConfig
from worldloom.evaluate.drift import drift_slope, loss_between, segment_means
from worldloom.evaluate.frechet import FrechetConfig, PatchFeatures, masked_patches
from worldloom.evaluate.inverse_dynamics import (
    ActionAccuracy,
    InverseDynamics,
    action_accuracy,
    true_motion,
)
from worldloom.evaluate.masked_quality import masked_psnr_db
from worldloom.evaluate.memory_consistency import find_revisits, self_consistency_psnr_db
from worldloom.evaluate.mirror import mirror_pairs, mirror_psnr_db
from worldloom.evaluate.pose_error import PoseErrors, PoseSearch, PoseSearchConfig, pose_errors
from worldloom.evaluate.protocol import case_depths
from worldloom.evaluate.standing_still import standing_still
from worldloom.evaluate.texture_distance import texture_distance
from worldloom.evaluate.video_quality import (
    Frames,
    PerceptualDistance,
    psnr_db,
    sharpness_ratio,
    ssim,
)
from worldloom.evaluate.view_masks import (
    ViewMaskConfig,
    ViewMasks,
    static_frames,
    view_masks,
)

Values = dict[str, float | None]

# Part of every cell's key: raise it when a figure's meaning or what walks are told changes, so that
# cells are made anew.
MEASURES_VERSION = 11

DRIFT_SEGMENTS = (2, 12)
# A revisit within ten seconds at 16 frames a second, and those of the last lap.
_EARLY_FRAMES = 160
_LEAST_LONG_FRAMES = 480
# Who was seen by whom costs the square of a walk's length.
_MOST_MASKED_FRAMES = 400


class MeasureConfig(Config):
    """How films are measured."""

    revisit: RevisitConfig = Field(RevisitConfig(), description="what is a revisit")
    view: ViewMaskConfig = Field(ViewMaskConfig(), description="what is seen, new or old")
    perceptual: PerceptualConfig = Field(PerceptualConfig(), description="the random net")
    frechet: FrechetConfig = Field(FrechetConfig(), description="features of novel patches")
    most_novel_patches: int = Field(128, ge=1, description="novel patches of a film at most")
    pose: PoseSearchConfig = Field(PoseSearchConfig(), description="render and compare")
    most_judged_frames: int = Field(
        400,
        ge=12,
        description="frames of a film, evenly spread, that textures and the random net see",
    )
    pose_stride_frames: int = Field(
        24, ge=0, description="frames between the pairs of frames that are located; 0 for none"
    )
    most_located_pairs: int = Field(
        12, ge=1, description="pairs of a film, evenly spread, that are located"
    )
    pose_gap_frames: int = Field(4, ge=1, description="frames between the two of a pair")


@dataclass(frozen=True)
class Instruments:
    """What measuring needs beside films."""

    config: MeasureConfig
    segment_frames: int
    reader: InverseDynamics | None
    given_frames: int = 0  # after the start frame; figures are of what was made behind them
    kinematics: Kinematics = field(default_factory=Kinematics)

    @property
    def first_made(self) -> int:
        """The first frame that a model made."""
        return 1 + self.given_frames


@dataclass(frozen=True)
class Truth:
    """What one recording says, whatever a model makes of it."""

    case: Clip
    masks: ViewMasks | None
    located: PoseErrors | None
    read: ActionAccuracy | None

    @property
    def poses(self) -> FloatArray:
        """The recorded poses."""
        return self.case.poses_c2w.astype(np.float64)


def truth_of(case: Clip, instruments: Instruments) -> Truth:
    """Return what a recording says, by the same instruments as films are measured with."""
    depths = case_depths(case) if case.num_frames <= _MOST_MASKED_FRAMES else None
    masks = None
    if depths is not None:
        poses = case.poses_c2w.astype(np.float64)
        masks = view_masks(depths, poses, case.intrinsics, instruments.config.view)
    return Truth(
        case,
        masks,
        _locate(case, case.frames, instruments),
        _read(case, case.frames, instruments),
    )


def evenly(indices: IntArray, most: int) -> IntArray:
    """Return all indices, or so many of them, evenly spread."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def novel_mask(truth: Truth, config: MeasureConfig) -> BoolArray:
    """Return the pixels that only a model's guess can have filled, bool [F, H, W].

    Where a world tells no depth, all of a way that leads on counts as new once the view of its
    start has passed.
    """
    if truth.masks is not None:
        return truth.masks.fresh
    shape = truth.case.frames.shape[:3]
    mask = np.zeros(shape, bool)
    if truth.case.trajectory == "forward":
        mask[config.view.window_frames :] = True
    return mask


def novel_features(frames: Frames, truth: Truth, instruments: Instruments) -> FloatArray:
    """Return the features [N, E] of a film's novel patches, or of some of them, evenly spread."""
    config, mask = instruments.config, novel_mask(truth, instruments.config).copy()
    mask[: instruments.first_made] = False
    patches = masked_patches(frames, mask, config.frechet.patch_pixels)
    patches = patches[evenly(np.arange(len(patches)), config.most_novel_patches)]
    if not len(patches):
        return np.zeros((0, config.frechet.num_features))
    return PatchFeatures(config.frechet)(patches)


def measure(frames: Frames, truth: Truth, instruments: Instruments) -> tuple[Values, list[float]]:
    """Return a film's figures by name, and its PSNR segment by segment.

    Args:
        frames: uint8 [F, H, W, 3]; frame 0 is the start frame, those that were given follow.
        truth: the recording of the same walk.
        instruments: what measures.
    """
    recorded, config = truth.case.frames, instruments.config
    psnr, similarity = psnr_db(frames, recorded), ssim(frames, recorded)
    first = instruments.first_made
    segments = segment_means(psnr[first:], instruments.segment_frames)
    judged = evenly(np.arange(first, len(frames)), config.most_judged_frames)
    made, real = frames[judged], recorded[judged]
    values: Values = {
        "psnr_db": float(psnr[first:].mean()),
        "ssim": float(similarity[first:].mean()),
        "texture_distance": float(texture_distance(made, real).mean()),
        "perceptual_distance": float(PerceptualDistance(config.perceptual)(made, real).mean()),
        "sharpness_ratio": sharpness_ratio(made, real),
        "drift_db_per_segment": drift_slope(segments),
        "loss_segments_2_to_12_db": loss_between(segments, *DRIFT_SEGMENTS),
    }
    values |= _revisited(frames, psnr, similarity, truth, instruments)
    values |= _masked(frames, truth, first)
    values |= _stood(frames, truth)
    values |= _obeyed(frames, truth, instruments)
    return values, segments


@dataclass(frozen=True)
class Measured:
    """Everything that is kept of a walk."""

    values: Values
    segment_psnr_db: list[float]
    features: FloatArray  # [N, E] of novel patches, made
    real_features: FloatArray  # the same, recorded


def measure_all(walked: tuple[Frames, Truth], instruments: Instruments) -> Measured:
    """Return everything that is kept of a film and the recording of the same walk."""
    frames, truth = walked
    values, segments = measure(frames, truth, instruments)
    made, real = (novel_features(film, truth, instruments) for film in (frames, truth.case.frames))
    return Measured(values, segments, made, real)


def _revisited(
    frames: Frames,
    psnr: FloatArray,
    similarity: FloatArray,
    truth: Truth,
    instruments: Instruments,
) -> Values:
    config, first = instruments.config, instruments.first_made
    found = find_revisits(truth.poses, config.revisit)
    revisits = [revisit for revisit in found if revisit.frame_index >= first]
    at = np.array([revisit.frame_index for revisit in revisits], dtype=np.int64)
    values: Values = {
        "revisit_psnr_db": float(psnr[at].mean()) if len(at) else None,
        "revisit_ssim": float(similarity[at].mean()) if len(at) else None,
        "self_consistency_psnr_db": self_consistency_psnr_db(frames, revisits),
        "late_over_early_revisit_ssim": _late_over_early(similarity, at, first),
    }
    every = mirror_pairs(truth.poses, config.revisit.window_frames)
    pairs = [pair for pair in every if pair.back_index >= first]
    mirrored = mirror_psnr_db(frames, truth.case.frames, pairs)
    values["mirror_psnr_db"], values["mirror_self_psnr_db"] = mirrored or (None, None)
    return values


def _late_over_early(similarity: FloatArray, at: IntArray, first: int) -> float | None:
    """Return SSIM on the last lap's revisits over that of the first ten seconds that were made."""
    if len(similarity) < _LEAST_LONG_FRAMES:
        return None
    early = similarity[at[at < first + _EARLY_FRAMES]]
    late = similarity[at[at >= len(similarity) - LAP_FRAMES]]
    if not len(early) or not len(late):
        return None
    return float(late.mean() / early.mean())


def _masked(frames: Frames, truth: Truth, first: int) -> Values:
    names, masks = ("revisited", "recent", "novel"), truth.masks
    if masks is None:
        return {f"{name}_psnr_db": None for name in names}
    return {
        f"{name}_psnr_db": _finite_mean(
            masked_psnr_db(frames, truth.case.frames, getattr(masks, name))[first:]
        )
        for name in names
    }


def _stood(frames: Frames, truth: Truth) -> Values:
    stand = standing_still(frames, static_frames(truth.poses))
    return {
        "kept_psnr_db": stand.kept_psnr_db if stand else None,
        "kept_sharpness": stand.kept_sharpness if stand else None,
        "flicker_levels": stand.flicker_levels if stand else None,
    }


def _obeyed(frames: Frames, truth: Truth, instruments: Instruments) -> Values:
    found = _locate(truth.case, frames, instruments)
    read = _read(truth.case, frames, instruments)
    recorded = truth.read
    return {
        "yaw_error_degrees": found.yaw_degrees if found else None,
        "turn_error_degrees_per_frame": found.turn_degrees_per_frame if found else None,
        "position_error_metres": found.metres if found else None,
        "located_share": found.num_located / found.num_frames if found else None,
        "recording_yaw_error_degrees": truth.located.yaw_degrees if truth.located else None,
        "key_accuracy": read.key_accuracy if read else None,
        "read_turn_error_degrees": read.turn_error_degrees if read else None,
        "recording_key_accuracy": recorded.key_accuracy if recorded else None,
        "recording_read_turn_error_degrees": recorded.turn_error_degrees if recorded else None,
        "key_accuracy_ratio": (
            read.key_accuracy / recorded.key_accuracy
            if read and recorded and recorded.key_accuracy
            else None
        ),
    }


def _locate(case: Clip, frames: Frames, instruments: Instruments) -> PoseErrors | None:
    config = instruments.config
    stride = config.pose_stride_frames
    if case.source != "procedural" or not stride:
        return None
    world = world_from_seed(int(case.world))
    height, width = frames.shape[1:3]
    search = PoseSearch(world, case.intrinsics, (height, width), config.pose)
    begin = instruments.given_frames + stride
    firsts = evenly(
        np.arange(begin, len(frames) - config.pose_gap_frames, stride), config.most_located_pairs
    ).tolist()
    indices = [at for first in firsts for at in (first, first + config.pose_gap_frames)]
    if not indices:
        return None
    poses = case.poses_c2w.astype(np.float64)
    return pose_errors([search.find(frames[at], poses[at]) for at in indices], indices)


def _read(case: Clip, frames: Frames, instruments: Instruments) -> ActionAccuracy | None:
    if instruments.reader is None:
        return None
    given = instruments.given_frames  # the first motion that is read leads to the first made frame
    poses = case.poses_c2w[given:].astype(np.float64)
    asked = true_motion(poses, instruments.kinematics.speed_metres)
    return action_accuracy(instruments.reader.read(frames[given:]), asked)


def _finite_mean(values: FloatArray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
