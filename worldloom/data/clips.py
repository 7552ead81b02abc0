"""The content of a `clips` artifact: Parquet shards for each split, and a summary.

A row is a clip: its frames as JPEG (4:4:4) or PNG bytes, poses, actions, intrinsics, prompt and
quality figures. `train-00000.parquet`, `test-00000.parquet`, ..., `summary.json`. The same clips
in the same order give the same bytes. It does not know artifacts' manifests or where clips come
from.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldloom.arrays import ByteArray, SingleArray
from worldloom.camera import Intrinsics
from worldloom.data.schema import SPLITS, Clip, Source, Split, validate_clip
from worldloom.errors import DataError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
SUMMARY_FILE = "summary.json"
ROWS_PER_SHARD = 32
MOST_DAMAGED_SHARE = 0.01
ROWS_PER_GROUP = 4
JPEG_QUALITY = 95

FrameEncoding = Literal["jpeg", "png"]
Row = dict[str, object]

ROW_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("source", pa.string()),
        ("world", pa.string()),
        ("split", pa.string()),
        ("trajectory", pa.string()),
        ("prompt", pa.string()),
        ("num_frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("intrinsics", pa.list_(pa.float64(), 4)),
        ("quality", pa.map_(pa.string(), pa.float64())),
        ("poses_c2w", pa.list_(pa.float32())),
        ("keyboard", pa.list_(pa.float32())),
        ("mouse", pa.list_(pa.float32())),
        ("frames", pa.list_(pa.binary())),
    ]
)
INDEX_COLUMNS = ROW_SCHEMA.names[: ROW_SCHEMA.names.index("poses_c2w")]


def write_clips(
    folder: Path, clips: Iterable[Clip], *, encoding: FrameEncoding = "jpeg"
) -> dict[str, object]:
    """Validate clips and write them as a folder; return the summary."""
    return write_rows(folder, (clip_to_row(clip, encoding=encoding) for clip in clips))


def write_rows(
    folder: Path,
    rows: Iterable[Row],
    *,
    dropped: Mapping[str, int] | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> dict[str, object]:
    """Write rows in the order given, cut into shards for each split; return the summary.

    Args:
        folder: Made if missing; expected empty.
        rows: From `clip_to_row`.
        dropped: For the summary: how many clips each filter's reason dropped.
        rows_per_shard: Clips in a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting: dict[str, list[Row]] = {split: [] for split in SPLITS}
    shards: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    frames = 0
    for row in rows:
        split = str(row["split"])
        waiting[split].append(row)
        counts[split][str(row["source"])] += 1
        frames += cast("int", row["num_frames"])
        if len(waiting[split]) == rows_per_shard:
            _write_shard(folder, split, shards[split], waiting[split])
            shards[split] += 1
            waiting[split] = []
    for split, left in waiting.items():
        if left:
            _write_shard(folder, split, shards[split], left)
    summary: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "clips": {split: dict(sorted(counter.items())) for split, counter in counts.items()},
        "num_frames": frames,
        "dropped": dict(sorted((dropped or {}).items())),
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    return summary


def read_clips(folder: Path, split: Split) -> Iterator[Clip]:
    """Yield a split's clips in their order, decoded and validated.

    A shard that cannot be read is skipped, counted and reported.

    Raises:
        DataError: for a folder without a summary, a broken clip, or when more than
            `MOST_DAMAGED_SHARE` of the split's shards cannot be read.
    """
    for shard in _readable(_shards(folder, split)):
        for group in range(shard.num_row_groups):
            for row in shard.read_row_group(group).to_pylist():
                yield row_to_clip(row)


def clip_index(folder: Path) -> list[Row]:
    """Return every clip's row without frames, poses and actions, train first.

    Damaged shards are skipped as `read_clips` skips them.
    """
    rows: list[Row] = []
    for split in SPLITS:
        for shard in _readable(_shards(folder, split), INDEX_COLUMNS):
            rows += shard.read(columns=INDEX_COLUMNS).to_pylist()
    for row in rows:
        row["quality"] = dict(cast("list[tuple[str, float]]", row["quality"] or []))
    return rows


def read_summary(folder: Path) -> dict[str, object]:
    """Return a clips folder's summary.

    Raises:
        DataError: when the folder holds none, or one of another schema version.
    """
    path = folder / SUMMARY_FILE
    if not path.is_file():
        message = f"clips folder {folder}: it has no {SUMMARY_FILE}, expected a finished one"
        raise DataError(message)
    summary: dict[str, object] = json.loads(path.read_text())
    if summary.get("schema_version") != SCHEMA_VERSION:
        message = (
            f"clips folder {folder}: schema version {summary.get('schema_version')},"
            f" expected {SCHEMA_VERSION}"
        )
        raise DataError(message)
    return summary


def clip_to_row(
    clip: Clip,
    *,
    encoding: FrameEncoding = "jpeg",
    quality: Mapping[str, float] | None = None,
) -> Row:
    """Validate a clip and return its row, frames encoded."""
    validate_clip(clip)
    camera = clip.intrinsics
    return {
        "clip_id": clip.clip_id,
        "source": clip.source,
        "world": clip.world,
        "split": clip.split,
        "trajectory": clip.trajectory,
        "prompt": clip.prompt,
        "num_frames": clip.num_frames,
        "height": clip.frames.shape[1],
        "width": clip.frames.shape[2],
        "intrinsics": [camera.fx, camera.fy, camera.cx, camera.cy],
        "quality": sorted((quality or {}).items()),
        "poses_c2w": clip.poses_c2w.astype(np.float32).ravel(),
        "keyboard": clip.keyboard.astype(np.float32).ravel(),
        "mouse": clip.mouse.astype(np.float32).ravel(),
        "frames": [encode_frame(frame, encoding) for frame in clip.frames],
    }


def row_to_clip(row: Mapping[str, object]) -> Clip:
    """Return the clip of a row.

    Raises:
        DataError: when a frame does not decode or the clip breaks its contract.
    """
    name = str(row["clip_id"])
    encoded = cast("list[bytes]", row["frames"])
    if not encoded:
        message = f"clip {name!r}: it has no frames, expected 4n+1 of them"
        raise DataError(message)
    count = len(encoded)
    fx, fy, cx, cy = cast("list[float]", row["intrinsics"])
    clip = Clip(
        clip_id=name,
        source=cast("Source", row["source"]),
        world=str(row["world"]),
        split=cast("Split", row["split"]),
        trajectory=str(row["trajectory"]),
        prompt=str(row["prompt"]),
        frames=np.stack([decode_frame(data, name) for data in encoded]),
        poses_c2w=_matrix(row, "poses_c2w", count, (4, 4)),
        intrinsics=Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy),
        keyboard=_matrix(row, "keyboard", count, (6,)),
        mouse=_matrix(row, "mouse", count, (2,)),
    )
    validate_clip(clip)
    return clip


def encode_frame(
    frame: ByteArray, encoding: FrameEncoding, *, quality: int = JPEG_QUALITY
) -> bytes:
    """Encode an RGB frame; `quality` is JPEG's, of 100."""
    options = (
        [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        if encoding == "jpeg"
        else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    )
    done, data = cv2.imencode(f".{encoding}", np.ascontiguousarray(frame[..., ::-1]), options)
    if not done:
        message = f"frame of shape {list(frame.shape)}: it could not be encoded as {encoding}"
        raise DataError(message)
    return data.tobytes()


def decode_frame(data: bytes, clip_id: str) -> ByteArray:
    """Decode a frame to RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if np.ndim(image) != 3:  # None for what is no picture
        message = f"clip {clip_id!r}: a frame of {len(data)} bytes is neither JPEG nor PNG"
        raise DataError(message)
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


def _matrix(
    row: Mapping[str, object], field: str, count: int, shape: tuple[int, ...]
) -> SingleArray:
    values = np.asarray(row[field], np.float32)
    if values.size != count * int(np.prod(shape)):
        message = (
            f"clip {row['clip_id']!r}: {field} has {values.size} numbers,"
            f" expected {list(shape)} for each of {count} frames"
        )
        raise DataError(message)
    return values.reshape(count, *shape)


def _shards(folder: Path, split: str) -> list[Path]:
    read_summary(folder)
    return sorted(folder.glob(f"{split}-*.parquet"))


def _readable(shards: list[Path], columns: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    """Yield the shards whose columns can be read; damage is logged, too much of it raises."""
    damaged: list[str] = []
    for path in shards:
        try:
            with path.open("rb") as raw:
                pq.ParquetFile(raw).read(
                    columns=columns
                )  # a file may be damaged behind a sound footer
        except (pa.ArrowException, OSError) as error:
            damaged.append(f"{path.name}: {error}")
            log_event(
                logger,
                "shard_skipped",
                logging.WARNING,
                shard=path.name,
                reason=str(error),
                skipped=len(damaged),
                shards=len(shards),
            )
            if len(damaged) > MOST_DAMAGED_SHARE * len(shards):
                message = (
                    f"clip shards of {path.parent}: {len(damaged)} of {len(shards)} are not "
                    f"readable as Parquet ({damaged[-1]}), expected at most "
                    f"{MOST_DAMAGED_SHARE:.0%}"
                )
                raise DataError(message) from error
            continue
        with pq.ParquetFile(path) as sound:
            yield sound


def _write_shard(folder: Path, split: str, index: int, rows: list[Row]) -> None:
    pq.write_table(
        pa.Table.from_pylist(rows, schema=ROW_SCHEMA),
        folder / f"{split}-{index:05d}.parquet",
        compression="zstd",
        row_group_size=ROWS_PER_GROUP,
    )
