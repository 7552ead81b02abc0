"""Where the time of played segments goes: what the host waited for, and what the device worked on.

A session and the networks of its model are wrapped, and every call is written down with the host's
clock and, on a GPU, with events of the stream that it works on; nobody waits for them while a
session is played. It does not know what is played on, nor how a report is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor, nn

from worldloom.actions import Actions
from worldloom.bench.live import LiveSession
from worldloom.memory.cover import Cover, CoverQuestion
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import (
    Context,
    Latents,
    PreparedSegment,
    SegmentConditions,
    Sigma,
)
from worldloom.rollout.world_model import Network, PendingFrames, WorldModel

_PREPARE, _STEP, _COMMIT, _DECODE, _RETRIEVAL = "prepare", "step", "commit", "decode", "retrieval"
_BEFORE, _WAIT, _PLAYER, _IDLE = (
    "host: from the beginning to the network",
    "host: waits for latents",
    "host: between two segments",
    "no network works",
)
PARTS = (
    "segment", _BEFORE, _RETRIEVAL, _PREPARE, _STEP, _COMMIT, _DECODE, _WAIT, _PLAYER, _IDLE,
)  # fmt: skip


@dataclass
class _Span:
    """One call: when the host made it and came back, and the device's marks around its work."""

    name: str
    begun: float
    ended: float = 0.0
    marks: tuple[torch.cuda.Event, torch.cuda.Event] | None = None

    @property
    def seconds(self) -> float:
        """What its work took on the device, or the host where there is none."""
        if self.marks is None:
            return self.ended - self.begun
        return _between(*self.marks)

    def until(self, later: _Span) -> float:
        """Seconds from the end of its work to the beginning of another's."""
        if self.marks is None or later.marks is None:
            return later.begun - self.ended
        return _between(self.marks[1], later.marks[0])


@dataclass
class _Segment:
    """One call of `begin_segment` and the calls inside it."""

    begun: float
    ended: float = 0.0
    spans: list[_Span] = field(default_factory=list)

    def named(self, *names: str) -> list[_Span]:
        return [span for span in self.spans if span.name in names]


class Timeline:
    """What every segment of one session spent, by part."""

    def __init__(self) -> None:
        """Begin with nothing written down."""
        self._segments: list[_Segment] = []

    def of_model(self, model: WorldModel) -> WorldModel:
        """Return the model with its networks wrapped; its decoder is watched until `watched`."""
        return replace(
            model,
            transformer=_TimedNetwork(model.transformer, self),
            cover=_TimedCover(model.cover, self),
        )

    @contextmanager
    def watched(self, decoder: nn.Module) -> Iterator[None]:
        """Write a decoder's calls down inside."""
        open_spans: list[_Span] = []

        def enter(*_: object) -> None:
            open_spans.append(self._open(_DECODE, is_on_device=_is_on_gpu(decoder)))

        def leave(*_: object) -> None:
            _close(open_spans.pop())

        hooks = decoder.register_forward_pre_hook(enter), decoder.register_forward_hook(leave)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def of_session(self, session: LiveSession) -> LiveSession:
        """Return the session with its segments written down."""
        return _TimedSession(session, self)

    @contextmanager
    def segment(self) -> Iterator[None]:
        """Write one segment down."""
        self._segments.append(_Segment(time.perf_counter()))
        yield
        self._segments[-1].ended = time.perf_counter()

    @contextmanager
    def part(self, name: str, *, is_on_device: bool) -> Iterator[None]:
        """Write one call down."""
        span = self._open(name, is_on_device=is_on_device)
        yield
        _close(span)

    def milliseconds(self, last: int) -> dict[str, Sequence[float]]:
        """Return what each part took in the last segments, as far as another came before."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        pairs = list(zip(self._segments, self._segments[1:], strict=False))[-last:]
        rows = [_parts_of(before, segment) for before, segment in pairs]
        return {name: [1e3 * row[name] for row in rows] for name in PARTS}

    def _open(self, name: str, *, is_on_device: bool) -> _Span:
        span = _Span(name, time.perf_counter())
        if is_on_device:
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begun.record()
            span.marks = begun, ended
        if self._segments:  # before the first, a session is begun
            self._segments[-1].spans.append(span)
        return span


def _between(first: torch.cuda.Event, second: torch.cuda.Event) -> float:
    milliseconds: float = first.elapsed_time(second)
    return milliseconds / 1e3


def _close(span: _Span) -> None:
    if span.marks is not None:
        span.marks[1].record()
    span.ended = time.perf_counter()


def _parts_of(before: _Segment, segment: _Segment) -> dict[str, float]:
    """Return the seconds of a segment's parts; `before` is the one before it."""
    passes = segment.named(_PREPARE, _STEP, _COMMIT)
    steps, decoded = segment.named(_STEP), segment.named(_DECODE)
    sums = {
        name: sum(span.seconds for span in segment.named(name))
        for name in (_PREPARE, _STEP, _COMMIT, _DECODE, _RETRIEVAL)
    }
    waits = min(span.begun for span in decoded) if decoded else steps[-1].ended
    return sums | {
        "segment": segment.begun - before.begun,
        _BEFORE: passes[0].begun - segment.begun,
        _WAIT: segment.ended - waits,
        _PLAYER: segment.begun - before.ended,
        _IDLE: before.named(_PREPARE, _STEP, _COMMIT)[-1].until(passes[0]),
    }


def _is_on_gpu(module: nn.Module) -> bool:
    return next(module.parameters()).is_cuda


@dataclass
class _TimedSession:
    session: LiveSession
    timeline: Timeline

    @property
    def segment_frames(self) -> int:
        return self.session.segment_frames

    def begin_segment(self, actions: Actions) -> PendingFrames:
        with self.timeline.segment():
            return self.session.begin_segment(actions)


@dataclass
class _TimedCover:
    cover: Cover
    timeline: Timeline

    def __call__(self, question: CoverQuestion) -> Int[Tensor, " S"]:
        with self.timeline.part(_RETRIEVAL, is_on_device=False):
            return self.cover(question)


class _TimedNetwork:
    def __init__(self, network: Network, timeline: Timeline) -> None:
        self._network = network
        self._timeline = timeline
        self.config: TransformerConfig = network.config

    @property
    def dtype(self) -> torch.dtype:
        return self._network.dtype

    @property
    def device(self) -> torch.device:
        return self._network.device

    def prepare(self, conditions: SegmentConditions) -> PreparedSegment:
        with self._part(_PREPARE):
            return self._network.prepare(conditions)

    def placed(self, context: Context) -> Context:
        with self._part(_PREPARE):
            return self._network.placed(context)

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> Latents:
        with self._part(_STEP):
            return self._network.denoise(latents, sigma, prepared, context)

    def commit(
        self, latents: Latents, prepared: PreparedSegment, context: Context | None = None
    ) -> list[BlockContext]:
        with self._part(_COMMIT):
            return self._network.commit(latents, prepared, context)

    def _part(self, name: str) -> AbstractContextManager[None]:
        return self._timeline.part(name, is_on_device=self.device.type == "cuda")
