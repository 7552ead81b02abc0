"""Which segment a distillation looks at next, and the student's own history before it.

A rollout is k segments of the student's own, k drawn anew each time; before it the clip is as it
was recorded, so with k = 1 the whole past is recorded (cold start). `fresh` rolls out all k for
every look and scores the last. `persistent` keeps its rollouts: each look scores the next segment,
of which all but the newest were made by the student as it was then, for the price of one segment.
It does not know scores.

Letters: B clips, L latents of a clip, C channels, T latents of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from worldloom.distill.config import DistillationConfig
from worldloom.distill.draws import Draws
from worldloom.errors import TrainingError
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import ClipBatch, segment_start
from worldloom.train.flow_batch import ClipSet
from worldloom.train.self_rollout import (
    SegmentView,
    VelocityOf,
    roll_out,
    velocity_of,
    view_segment,
)

_LATENTS, _ROWS, _PLACE = "rollouts.latents", "rollouts.rows", "rollouts.place"


@dataclass
class Scored:
    """A segment to score: what it sees, what was recorded [B, C, T, H, W], and of which clips."""

    view: SegmentView
    recorded: Tensor
    clip_ids: list[str]


@dataclass
class _Rollout:
    rows: Tensor  # [B]
    first: int  # the first segment that is the student's own
    last: int  # the last one
    scored: int  # the one that is looked at
    latents: Tensor  # [B, L, C, H, W], the student's own from `first` to `scored`


class ScoredSegments:
    """Rolls a student out over clips and shows the segment to score."""

    def __init__(
        self,
        config: DistillationConfig,
        clips: ClipSet,
        conditioner: Conditioner,
        velocities: VelocityOf = velocity_of,
    ) -> None:
        """Roll out nothing yet."""
        self.config, self.clips, self.conditioner = config, clips, conditioner
        self._velocities = velocities
        self._rollout: _Rollout | None = None

    def next(self, student: WorldModelTransformer, device: torch.device, draws: Draws) -> Scored:
        """Return the next segment to score."""
        config, size = self.config, student.config.segment_latents
        at = self._rollout
        if at is None or config.rollouts == "fresh" or at.scored == at.last:
            at = self._rollout = self._begin(device, draws.choices)
            batch = self.clips.batch(at.rows).to(device)
            ahead = range(at.first, at.last if config.rollouts == "fresh" else at.first)
        else:
            batch = self.clips.batch(at.rows).to(device)
            ahead = range(at.scored, at.scored + 1)
        replaced = self._continued(batch, at.latents.to(device))
        at.latents = roll_out(
            student,
            self.conditioner,
            replaced,
            ahead,
            config.sampler,
            draws.noise,
            self._velocities,
        ).float()
        at.scored = ahead.stop
        chance = torch.rand(len(at.rows), generator=draws.choices)
        hidden = chance < config.hide_context_probability
        view = view_segment(batch, at.latents, at.scored, size, hidden.to(device))
        start = segment_start(at.scored, student.config)
        recorded = batch.latents[:, start : start + size].transpose(1, 2)
        return Scored(view, recorded, [self.clips.clip_ids[row] for row in at.rows.tolist()])

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        at = self._rollout
        if at is None or self.config.rollouts == "fresh":
            return {}
        place = torch.tensor([at.first, at.last, at.scored])
        return {_LATENTS: at.latents, _ROWS: at.rows, _PLACE: place}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore `state_tensors`; raises `TrainingError` for those of other clips."""
        if _PLACE not in tensors:
            self._rollout = None
            return
        rows = tensors[_ROWS]
        if int(rows.max()) >= len(self.clips):
            message = (
                f"checkpoint tensor {_ROWS}: clip {int(rows.max())}, expected one of "
                f"{len(self.clips)} clips"
            )
            raise TrainingError(message)
        first, last, scored = tensors[_PLACE].tolist()
        self._rollout = _Rollout(rows, first, last, scored, tensors[_LATENTS])

    def _begin(self, device: torch.device, generator: torch.Generator) -> _Rollout:
        config, most = self.config, self.clips.num_segments
        longest = min(config.max_segments, most)
        shortest = min(config.min_segments, longest)
        length = shortest + int(torch.randint(0, longest - shortest + 1, (), generator=generator))
        first = int(torch.randint(0, most - length + 1, (), generator=generator))
        rows = torch.randint(0, len(self.clips), (config.batch_clips,), generator=generator)
        latents = self.clips.batch(rows).latents.to(device)
        return _Rollout(rows, first, first + length - 1, first, latents)

    def _continued(self, batch: ClipBatch, latents: Tensor) -> ClipBatch:
        return ClipBatch(**{**vars(batch), "latents": latents})
