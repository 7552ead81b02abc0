"""What every stage of a leg is given: its settings, its folders, and the clips that come in.

It does not know what a stage trains.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from worldloom.errors import DataError
from worldloom.legs.clip_file import ClipFolder, StoredClip
from worldloom.legs.config import LegConfig
from worldloom.legs.encoded import EncodedClips
from worldloom.legs.feed import Feed
from worldloom.legs.pool import ClipPool
from worldloom.log import log_event
from worldloom.presets import ModelPreset
from worldloom.train.run_control import TimeBudget

logger = logging.getLogger(__name__)

_CLIPS_AT_ONCE = 4
_WAIT_SECONDS = 0.2
_POLL_SECONDS = 0.5

Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass
class LegResult:
    """What a stage leaves beside its weights."""

    num_steps: int
    history: list[dict[str, float]]
    evaluations: list[dict[str, float]] = field(default_factory=list)
    speed: dict[str, float] = field(default_factory=dict)


@dataclass
class Leg:
    """What every stage is given.

    Attributes:
        config: the leg's.
        model: the preset with its overrides.
        weights: folder of the parts to go on from; it may hold none.
        out: folder that the parts are written into.
        device: where it trains.
        feed: the rendering processes.
        train, held_out: the clips that they render.
        report: told step, number of steps and values.
    """

    config: LegConfig
    model: ModelPreset
    weights: Path
    out: Path
    device: torch.device
    feed: Feed
    train: ClipFolder
    held_out: ClipFolder
    report: Report | None
    sources: Counter[str] = field(default_factory=Counter)

    def pace(self, take: Callable[[StoredClip], None]) -> FedPace:
        """Start the leg's time; clips that come in are given to `take`."""
        return FedPace(self, take)

    def first_clips(self) -> list[StoredClip]:
        """Return the training clips that the first step begins with."""
        return self._wait_for(self.train, self.config.feed.first_clips, of=self.capacity)

    def all_held_out(self) -> list[StoredClip]:
        """Return the held-out clips that the filters kept."""
        feed = self.config.feed
        planned = feed.held_out_clips * (bool(feed.procedural_clips) + bool(feed.vizdoom_clips))
        return self._wait_for(self.held_out, planned, of=planned)

    def _wait_for(self, folder: ClipFolder, count: int, *, of: int) -> list[StoredClip]:
        """Return the first clips of a split, as soon as there are so many or all are done."""
        clips: list[StoredClip] = []
        while len(clips) < count:
            self.feed.require_alive()
            is_last = folder.num_done >= of
            came = folder.poll(count - len(clips))
            clips += came
            if not came and is_last:
                break
            if not came:
                time.sleep(_WAIT_SECONDS)
        if not clips:
            message = f"{folder.folder}, split {folder.split!r}: no clip was kept of {of}"
            raise DataError(message)
        self.sources.update(clip.source for clip in clips)
        log_event(logger, "clips_there", split=folder.split, clips=len(clips))
        return clips

    @property
    def capacity(self) -> int:
        """How many training clips there will be at most."""
        return self.config.feed.procedural_clips + self.config.feed.vizdoom_clips

    def pool_of(self, encoded: EncodedClips, clips: list[StoredClip]) -> ClipPool:
        """Return a pool of the first clips."""
        pool = ClipPool(self.capacity, self.model.intrinsics, self.device)
        for clip in clips:
            pool.add(clip.clip_id, clip.segmented, encoded(clip))
        return pool


class FedPace(TimeBudget):
    """Ends with the leg's time, and takes in between steps what was rendered meanwhile."""

    def __init__(self, leg: Leg, take: Callable[[StoredClip], None]) -> None:
        """Start the clock."""
        super().__init__(60 * leg.config.minutes, decay_share=leg.config.decay_share)
        self._leg, self._take = leg, take
        self._polled = float("-inf")

    def is_over(self) -> bool:
        """Take clips in now and then, and tell whether the time is up."""
        leg, now = self._leg, time.monotonic()
        if now - self._polled >= _POLL_SECONDS:
            self._polled = now
            leg.feed.require_alive()
            for clip in leg.train.poll(_CLIPS_AT_ONCE):
                leg.sources[clip.source] += 1
                self._take(clip)
        return super().is_over()


Stage = Callable[[Leg, Path], LegResult]
