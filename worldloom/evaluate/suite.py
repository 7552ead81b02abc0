"""The suite: a release walks held-out clips again and is measured against what was recorded.

Each clip's start frame, actions and poses are fed as recorded; the noise seed follows from the
suite's seed and the clip's name, so that two releases are compared on paired rollouts. A finished
clip is kept in a folder, and a suite that was killed goes on behind it. It does not know bars,
artifacts or how a release works inside.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from worldloom.actions import Actions
from worldloom.arrays import FloatArray
from worldloom.camera import Kinematics, integrate_poses, pose_matrix, relative_to, yaw_pitch
from worldloom.config import load_config
from worldloom.data.schema import Clip
from worldloom.errors import DataError
from worldloom.evaluate.config import SuiteConfig
from worldloom.evaluate.controllability import (
    YawEstimator,
    find_turning_pairs,
    pixel_distance,
    seen_at_start,
    yaw_sign_fraction,
)
from worldloom.evaluate.drift import drift_slope, segment_means
from worldloom.evaluate.memory_consistency import (
    find_revisits,
    revisit_psnr_db,
    self_consistency_psnr_db,
)
from worldloom.evaluate.results import ClipResult
from worldloom.evaluate.video_quality import (
    Frames,
    PerceptualDistance,
    are_sound,
    copy_frame,
    psnr_db,
    sharpness_ratio,
    ssim,
)

_YAW_AXIS = 1


class Session(Protocol):
    """A walk through one world."""

    def generate_segment(self, actions: Actions, poses: FloatArray | None = None) -> Frames:
        """Return the frames that follow from a segment's actions."""


class Walkable(Protocol):
    """A release, as far as the suite needs one."""

    @property
    def frames_per_segment(self) -> int:
        """Pixel frames of one segment."""

    @property
    def kinematics(self) -> Kinematics:
        """What an action moves."""

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> Session:
        """Begin a walk at a start image."""


@dataclass(frozen=True)
class Rollout:
    """What a release made of one clip: frame 0 is the recorded start frame in both films."""

    clip: Clip
    frames: Frames
    result: ClipResult

    @property
    def truth(self) -> Frames:
        """The recorded frames, as many as were generated."""
        return self.clip.frames[: len(self.frames)]


@dataclass
class Suite:
    """Measures releases on clips."""

    config: SuiteConfig
    clock: Callable[[], float] = time.perf_counter
    segment_seconds: list[float] = field(default_factory=list)

    def run(
        self,
        release: Walkable,
        clips: Sequence[Clip],
        folder: Path,
        on_clip: Callable[[int, ClipResult], None] = lambda _index, _result: None,
    ) -> list[Rollout]:
        """Return a rollout for each clip, going on from what the folder holds.

        Args:
            release: what is judged.
            clips: held-out clips.
            folder: where finished rollouts of this very release and config are kept.
            on_clip: told the clip's index and result when one is done.

        Raises:
            DataError: when a clip is shorter than one segment.
        """
        folder.mkdir(parents=True, exist_ok=True)
        rollouts = []
        for index, clip in enumerate(clips):
            rollout = _load(folder, index, clip)
            if rollout is None:
                rollout = self._roll(release, clip)
                _save(folder, index, rollout)
            on_clip(index, rollout.result)
            rollouts.append(rollout)
        return rollouts

    def _roll(self, release: Walkable, clip: Clip) -> Rollout:
        size = release.frames_per_segment
        count = min(self.config.max_segments, (clip.num_frames - 1) // size)
        if not count:
            message = f"clip {clip.clip_id!r}: {clip.num_frames} frames, expected over {size}"
            raise DataError(message)
        seed = seed_of(self.config.seed, clip.clip_id)
        session = _open(release, clip, seed)
        poses = session_poses(clip)
        parts = []
        for index in range(count):
            span = slice(1 + index * size, 1 + (index + 1) * size)
            began = self.clock()
            parts.append(session.generate_segment(clip.actions[span], poses[span]))
            self.segment_seconds.append(self.clock() - began)
        frames = np.concatenate([clip.frames[:1], *parts])
        turned = self._turned(release, clip, seed)
        return Rollout(clip, frames, self._measure(clip, frames, size, seed, turned))

    def _turned(self, release: Walkable, clip: Clip, seed: int) -> tuple[float, float]:
        """Return left-right and noise divergence of rollouts that only turn.

        What comes into view is each seed's to draw; of what the start image shows, none is.
        """
        other_seed = seed_of(self.config.seed + 1, clip.clip_id)
        yaw = self.config.divergence_yaw_units
        left, right, other = (
            self._turn(_open(release, clip, walk_seed), release.frames_per_segment, units)
            for walk_seed, units in ((seed, -yaw), (seed, yaw), (other_seed, -yaw))
        )
        actions = _turning(len(left), -yaw)
        start = pose_matrix(np.zeros(3), 0.0, _pitch(clip))
        keys, mouse = actions.keyboard.astype(np.float64), actions.mouse.astype(np.float64)
        poses = integrate_poses(start, keys, mouse, release.kinematics)
        height, width = left.shape[1:3]
        known = seen_at_start(start, poses, clip.intrinsics, height, width)
        return pixel_distance(left, right), pixel_distance(left, other, known)

    def _turn(self, session: Session, size: int, yaw_units: float) -> Frames:
        actions, count = _turning(size, yaw_units), self.config.divergence_segments
        return np.concatenate([session.generate_segment(actions) for _ in range(count)])

    def _measure(
        self, clip: Clip, frames: Frames, size: int, seed: int, turned: tuple[float, float]
    ) -> ClipResult:
        truth, poses = clip.frames[: len(frames)], clip.poses_c2w[: len(frames)]
        made, recorded = frames[1:], truth[1:]
        psnr = psnr_db(made, recorded)
        by_segment = segment_means(psnr, size)
        revisits = find_revisits(poses, self.config.revisit)
        estimator = YawEstimator(
            self.config.turning.estimator,
            intrinsics=clip.intrinsics,
            height=frames.shape[1],
            width=frames.shape[2],
        )
        pairs = find_turning_pairs(poses, self.config.turning)
        right = yaw_sign_fraction(frames, pairs, estimator)
        right_truth = yaw_sign_fraction(truth, pairs, estimator)
        return ClipResult(
            clip_id=clip.clip_id,
            source=clip.source,
            world=clip.world,
            trajectory=clip.trajectory,
            seed=seed,
            num_frames=len(made),
            is_sound=are_sound(made, recorded.shape),
            psnr_db=float(psnr.mean()),
            copy_last_frame_psnr_db=_mean(
                psnr_db(copy_frame(clip.frames[0], len(recorded)), recorded)
            ),
            ssim=_mean(ssim(made, recorded)),
            perceptual_distance=_mean(PerceptualDistance(self.config.perceptual)(made, recorded)),
            sharpness_ratio=sharpness_ratio(made, recorded),
            segment_psnr_db=tuple(by_segment),
            drift_db_per_segment=drift_slope(by_segment),
            num_revisits=len(revisits),
            revisit_psnr_db=revisit_psnr_db(frames, truth, revisits),
            self_consistency_psnr_db=self_consistency_psnr_db(frames, revisits),
            num_turning_pairs=len(pairs),
            num_right_yaw_signs=round(right.numerator) if right else 0,
            num_right_yaw_signs_ground_truth=round(right_truth.numerator) if right_truth else 0,
            left_right_divergence=turned[0],
            noise_divergence=turned[1],
        )


def choose_clips(clips: Iterable[Clip], config: SuiteConfig, min_frames: int) -> list[Clip]:
    """Return up to `clips_per_source` clips of each source, worlds and kinds of path in turn.

    Raises:
        DataError: when no clip is long enough.
    """
    by_source: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.num_frames > min_frames:
            by_source.setdefault(clip.source, []).append(clip)
    if not by_source:
        message = f"no held-out clip has more than {min_frames} frames, expected at least one"
        raise DataError(message)
    chosen = []
    for source in sorted(by_source):
        taken: list[Clip] = []
        rest = list(by_source[source])
        while rest and len(taken) < config.clips_per_source:
            worlds = [clip.world for clip in taken]
            paths = [clip.trajectory for clip in taken]
            counts = [(worlds.count(c.world), paths.count(c.trajectory)) for c in rest]
            taken.append(rest.pop(counts.index(min(counts))))
        chosen += taken
    return chosen


def session_poses(clip: Clip) -> FloatArray:
    """Return a clip's poses in the frame of a session that begins at its first one.

    A session starts at the origin with yaw 0; the pitch stays as it was recorded.
    """
    poses = clip.poses_c2w.astype(np.float64)
    yaw, _ = yaw_pitch(poses[0])
    return relative_to(pose_matrix(poses[0, :3, 3], yaw, 0.0), poses)


def seed_of(seed: int, clip_id: str) -> int:
    """Return the noise seed of a clip's rollout."""
    digest = hashlib.sha256(f"{seed}/{clip_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _open(release: Walkable, clip: Clip, seed: int) -> Session:
    return release.open_session(
        image=clip.frames[0], prompt=clip.prompt, seed=seed, pitch_radians=_pitch(clip)
    )


def _turning(num_frames: int, yaw_units: float) -> Actions:
    actions = Actions.still(num_frames)
    actions.mouse[:, _YAW_AXIS] = yaw_units
    return actions


def _pitch(clip: Clip) -> float:
    return yaw_pitch(clip.poses_c2w[0].astype(np.float64))[1]


def _mean(values: FloatArray) -> float:
    return float(values.mean())


def _save(folder: Path, index: int, rollout: Rollout) -> None:
    """Keep a rollout: frames first, the result last and in one move, which makes it finished."""
    np.save(folder / f"{index:04d}.npy", rollout.frames, allow_pickle=False)
    partial = folder / f"{index:04d}.partial"
    partial.write_text(rollout.result.model_dump_json())
    partial.replace(folder / f"{index:04d}.json")


def _load(folder: Path, index: int, clip: Clip) -> Rollout | None:
    path = folder / f"{index:04d}.json"
    if not path.is_file():
        return None
    result = load_config(ClipResult, path.read_text(), where=str(path))
    if result.clip_id != clip.clip_id:
        message = f"{path}: rollout of {result.clip_id!r}, expected {clip.clip_id!r}"
        raise DataError(message)
    return Rollout(clip, np.load(folder / f"{index:04d}.npy", allow_pickle=False), result)
