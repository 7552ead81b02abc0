"""What an ingestion records: the list of clips to capture, and how one of them is.

A plan is a function of the config alone, and so is each clip: whoever captures it, whenever, gets
the same bytes. It does not know how the work is spread or stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from worldloom.config import Config
from worldloom.data.captions import CaptionConfig, captioned, make_captioner
from worldloom.data.clips import ROW_SCHEMA, FrameEncoding, clip_to_row
from worldloom.data.filters import FilterConfig, clip_quality, drop_reasons
from worldloom.data.schema import SPLITS, Clip, Split, validate_clip
from worldloom.data.sources.procedural import ProceduralConfig
from worldloom.data.sources.procedural import capture_clip as capture_procedural
from worldloom.data.sources.vizdoom_config import VizdoomConfig
from worldloom.frames import TEMPORAL_STRIDE

if TYPE_CHECKING:
    from worldloom.data.sources.doom_engine import DoomEngine

SEEDS_APART = 100_000

CapturedSource = Literal["procedural", "vizdoom"]


class SourceCounts(Config):
    """How many clips are recorded of a source, before filtering."""

    train: int = Field(ge=0, le=SEEDS_APART, description="clips of train worlds")
    test: int = Field(ge=0, le=SEEDS_APART, description="clips of test worlds")

    def of(self, split: Split) -> int:
        """Return the clips of a split."""
        return self.train if split == "train" else self.test


class CaptureConfig(Config):
    """What is recorded and what is kept of it."""

    num_frames: int = Field(97, ge=5, description="frames of a clip, 4n+1")
    seed: int = Field(0, ge=0, lt=1000, description="another seed, other clips of other places")
    procedural_clips: SourceCounts = Field(
        SourceCounts(train=80, test=16), description="clips of the procedural world"
    )
    vizdoom_clips: SourceCounts = Field(
        SourceCounts(train=80, test=16), description="clips of Freedoom's maps"
    )
    procedural: ProceduralConfig = Field(ProceduralConfig(), description="the procedural world")
    vizdoom: VizdoomConfig = Field(VizdoomConfig(), description="Freedoom's maps")
    filters: FilterConfig = Field(FilterConfig(), description="what is dropped")
    captions: CaptionConfig = Field(CaptionConfig(), description="where prompts come from")
    encoding: FrameEncoding = Field("jpeg", description="how frames are stored; png is lossless")

    @field_validator("num_frames")
    @classmethod
    def _is_causal_length(cls, value: int) -> int:
        if (value - 1) % TEMPORAL_STRIDE:
            message = f"{value} frames, expected 4n+1"
            raise ValueError(message)
        return value


@dataclass(frozen=True)
class CaptureTask:
    """One clip to record: its place in the order, and everything that decides its content."""

    index: int
    source: CapturedSource
    split: Split
    map_name: str
    seed: int


@dataclass(frozen=True)
class CapturedClip:
    """What became of a task.

    Attributes:
        index: The task's.
        payload: The clip's row as an Arrow stream of one row; empty if it was dropped.
        reasons: Why it was dropped; nothing if it was kept.
    """

    index: int
    payload: bytes
    reasons: tuple[str, ...]


def plan(config: CaptureConfig) -> list[CaptureTask]:
    """Return the clips to capture, in the artifact's order; maps take turns."""
    tasks: list[CaptureTask] = []
    first_seed = config.seed * SEEDS_APART
    for split in SPLITS:
        for number in range(config.procedural_clips.of(split)):
            tasks.append(CaptureTask(len(tasks), "procedural", split, "", first_seed + number))
        maps = config.vizdoom.maps(split)
        for number in range(config.vizdoom_clips.of(split)):
            name = maps[number % len(maps)]
            tasks.append(CaptureTask(len(tasks), "vizdoom", split, name, first_seed + number))
    return tasks


class Capturer:
    """Captures tasks one after another; keeps one game engine for all of them."""

    def __init__(self, config: CaptureConfig) -> None:
        """Start nothing yet: the engine comes with the first task that needs it."""
        self._config = config
        self._captioner = make_captioner(config.captions)
        self._engine: DoomEngine | None = None

    def __enter__(self) -> Capturer:
        """Return itself."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the engine."""
        self.close()

    def close(self) -> None:
        """End the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def capture(self, task: CaptureTask) -> CapturedClip:
        """Record, judge and caption one clip.

        Raises:
            DataError: when the source cannot record it or the clip breaks its contract.
        """
        clip = self._recorded(task)
        quality = clip_quality(clip, self._config.filters)
        reasons = drop_reasons(quality, self._config.filters)
        if reasons:
            return CapturedClip(task.index, b"", reasons)
        told = captioned(clip, self._captioner)
        row = clip_to_row(told, encoding=self._config.encoding, quality=quality)
        return CapturedClip(task.index, _row_bytes(row), ())

    def record(self, task: CaptureTask) -> Clip | None:
        """Record, judge and caption one clip; None where a filter drops it.

        Raises:
            DataError: when the source cannot record it or the clip breaks its contract.
        """
        clip = self._recorded(task)
        filters = self._config.filters
        is_dropped = drop_reasons(clip_quality(clip, filters), filters)
        return None if is_dropped else captioned(clip, self._captioner)

    def _recorded(self, task: CaptureTask) -> Clip:
        clip = self._from_source(task)
        validate_clip(clip)
        return clip

    def _from_source(self, task: CaptureTask) -> Clip:
        config = self._config
        if task.source == "procedural":
            return capture_procedural(
                config.procedural, seed=task.seed, split=task.split, num_frames=config.num_frames
            )
        from worldloom.data.sources.vizdoom import DoomEngine, capture_clip

        if self._engine is None:
            self._engine = DoomEngine(config.vizdoom)
        return capture_clip(
            config.vizdoom,
            map_name=task.map_name,
            seed=task.seed,
            split=task.split,
            num_frames=config.num_frames,
            engine=self._engine,
        )


def payload_row(payload: bytes) -> dict[str, object]:
    """Return the row in a payload."""
    with pa.ipc.open_stream(payload) as reader:
        row: dict[str, object] = reader.read_all().to_pylist()[0]
    return row


def _row_bytes(row: dict[str, object]) -> bytes:
    table = pa.Table.from_pylist([row], schema=ROW_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ROW_SCHEMA) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
