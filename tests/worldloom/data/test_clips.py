"""The clips folder: what is written is read back, and the same clips give the same bytes."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldloom.data.clips import (
    clip_index,
    clip_to_row,
    read_clips,
    read_summary,
    write_clips,
    write_rows,
)
from worldloom.data.schema import Clip
from worldloom.errors import DataError


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_png_clips_come_back_exactly(tmp_path: Path, clips: list[Clip]) -> None:
    write_clips(tmp_path, clips, encoding="png")
    back = [*read_clips(tmp_path, "train"), *read_clips(tmp_path, "test")]
    assert [clip.clip_id for clip in back] == [clip.clip_id for clip in clips]
    for before, after in zip(clips, back, strict=True):
        assert np.array_equal(before.frames, after.frames)
        assert np.array_equal(before.poses_c2w, after.poses_c2w)
        assert np.array_equal(before.keyboard, after.keyboard)
        assert np.array_equal(before.mouse, after.mouse)
        assert before.intrinsics == after.intrinsics
        assert (before.prompt, before.world) == (after.prompt, after.world)


def test_jpeg_clips_come_back_nearly(tmp_path: Path, clips: list[Clip]) -> None:
    write_clips(tmp_path, clips)
    back = next(read_clips(tmp_path, "train"))
    error = (back.frames.astype(float) - clips[0].frames) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 35
    assert np.array_equal(back.poses_c2w, clips[0].poses_c2w)


def test_the_same_clips_give_the_same_bytes(tmp_path: Path, clips: list[Clip]) -> None:
    write_clips(tmp_path / "one", clips)
    write_clips(tmp_path / "two", clips)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_shards_keep_the_order_and_the_splits(tmp_path: Path, clips: list[Clip]) -> None:
    rows = [clip_to_row(clip, quality={"sharpness": 3.0}) for clip in clips]
    summary = write_rows(tmp_path, rows, dropped={"blur": 2}, rows_per_shard=2)
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert names == [f"{split}-0000{i}.parquet" for split in ("test", "train") for i in (0, 1)]
    assert summary["clips"] == {"train": {"procedural": 3}, "test": {"procedural": 3}}
    assert summary == read_summary(tmp_path)
    assert summary["dropped"] == {"blur": 2}
    index = clip_index(tmp_path)
    assert [row["clip_id"] for row in index] == [clip.clip_id for clip in clips]
    assert index[0]["quality"] == {"sharpness": 3.0}
    assert "frames" not in index[0]


def test_a_clip_with_a_nan_pose_is_not_written(tmp_path: Path, clip: Clip) -> None:
    poses = clip.poses_c2w.copy()
    poses[3] = np.nan
    with pytest.raises(DataError, match="not finite at frame 3"):
        write_clips(tmp_path, [replace(clip, poses_c2w=poses)])
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_summary_is_no_clips_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no summary\.json"):
        next(read_clips(tmp_path, "train"))


def test_a_damaged_shard_is_named(tmp_path: Path, clips: list[Clip]) -> None:
    write_clips(tmp_path, clips)
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1 nothing of use PAR1")
    with pytest.raises(DataError, match=r"1 of 1 are not readable .*train-00000\.parquet"):
        list(read_clips(tmp_path, "train"))


@pytest.mark.slow
def test_one_damaged_shard_of_many_is_skipped_counted_and_reported(
    tmp_path: Path, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    write_rows(tmp_path, [clip_to_row(clips[0])])
    sound = (tmp_path / "train-00000.parquet").read_bytes()
    for index in range(1, 101):
        (tmp_path / f"train-{index:05d}.parquet").write_bytes(sound)
    cut = bytearray(sound)
    cut[40:400] = bytes(360)  # behind a sound footer
    (tmp_path / "train-00007.parquet").write_bytes(bytes(cut))
    with caplog.at_level(logging.WARNING):
        assert sum(1 for _ in read_clips(tmp_path, "train")) == 100
    assert [record.getMessage() for record in caplog.records] == ["shard_skipped"]
    (tmp_path / "train-00009.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 101 are not readable .* expected at most 1%"):
        list(read_clips(tmp_path, "train"))


def test_a_row_without_frames_or_with_a_broken_one_is_refused(
    tmp_path: Path, clips: list[Clip]
) -> None:
    row = clip_to_row(clips[0])
    write_rows(tmp_path / "none", [row | {"frames": []}])
    with pytest.raises(DataError, match="it has no frames"):
        next(read_clips(tmp_path / "none", "train"))
    write_rows(tmp_path / "broken", [row | {"frames": [b"no picture"] * 17}])
    with pytest.raises(DataError, match="neither JPEG nor PNG"):
        next(read_clips(tmp_path / "broken", "train"))
    write_rows(tmp_path / "short", [row | {"mouse": [0.0, 0.0]}])
    with pytest.raises(DataError, match="mouse has 2 numbers"):
        next(read_clips(tmp_path / "short", "train"))
