"""Freedoom in the real engine: repeatable bytes, exact turns, pinhole pictures, steady speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from worldloom.camera import yaw_pitch
from worldloom.data.schema import Clip, validate_clip
from worldloom.data.sources.vizdoom import DoomEngine, VizdoomConfig, capture_clip
from worldloom.errors import DataError

CONFIG = VizdoomConfig()


@pytest.fixture(scope="module")
def engine() -> Iterator[DoomEngine]:
    with DoomEngine(CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def free(engine: DoomEngine) -> Clip:
    return _capture(engine, "MAP01", 10, "free", 49)


def _capture(engine: DoomEngine | None, name: str, seed: int, kind: str, frames: int) -> Clip:
    return capture_clip(
        CONFIG,
        map_name=name,
        seed=seed,
        split="train",
        num_frames=frames,
        trajectory=kind,
        engine=engine,
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_a_new_and_in_a_used_engine(
    engine: DoomEngine, free: Clip
) -> None:
    _capture(engine, "MAP05", 3, "free", 9)
    used = _capture(engine, "MAP01", 10, "free", 49)
    new = _capture(None, "MAP01", 10, "free", 49)
    for name in ("frames", "poses_c2w", "keyboard", "mouse"):
        assert getattr(free, name).tobytes() == getattr(used, name).tobytes()
        assert getattr(free, name).tobytes() == getattr(new, name).tobytes()


def test_clips_keep_their_contract_and_show_different_places(
    engine: DoomEngine, free: Clip
) -> None:
    other = _capture(engine, "MAP01", 11, "free", 9)
    validate_clip(free)
    validate_clip(other)
    assert free.frames.shape == (49, 64, 64, 3)
    assert np.abs(free.frames[0].astype(int) - other.frames[0]).mean() > 10


def test_a_mouse_unit_turns_fifteen_degrees_exactly(free: Clip) -> None:
    yaw = np.array([yaw_pitch(pose)[0] for pose in free.poses_c2w.astype(np.float64)])
    turned = (np.diff(yaw) + np.pi) % (2 * np.pi) - np.pi
    assert np.allclose(np.degrees(turned), 15 * free.mouse[1:, 1], atol=1e-3)
    assert np.abs(free.mouse[:, 1]).max() > 0.05
    assert not free.mouse[:, 0].any()


def test_a_held_key_moves_a_quarter_metre_a_frame_along_the_view(free: Clip) -> None:
    moved = np.diff(free.poses_c2w[:, :3, 3].astype(np.float64), axis=0)[:, [0, 2]]
    held = free.keyboard[1:].any(axis=1)
    assert abs(np.median(np.linalg.norm(moved[held], axis=1)) - 0.25) < 0.02
    forward = (free.keyboard[1:] == [1, 0, 0, 0, 0, 0]).all(axis=1)
    ahead = (moved * free.poses_c2w[1:, [0, 2], 2]).sum(axis=1)
    assert np.median(ahead[forward]) > 0.2


def test_pictures_are_those_of_the_pinhole_camera(
    engine: DoomEngine, rotation_error: Callable[..., float]
) -> None:
    clip = _capture(engine, "MAP02", 51, "spin", 97)
    right = rotation_error(clip, 4)
    assert right < 0.5 * rotation_error(clip, 4, flip=True)
    assert right < rotation_error(clip, 4, scale=0.93)
    assert right < rotation_error(clip, 4, scale=1.07)


def test_a_palindrome_walks_back(engine: DoomEngine) -> None:
    clip = _capture(engine, "MAP01", 0, "palindrome", 49)
    assert clip.trajectory == "palindrome"
    position = clip.poses_c2w[:, :3, 3]
    assert np.abs(position - position[::-1]).max() < 0.6
    assert np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean() < 25


def test_a_map_of_the_other_split_or_of_no_wad_is_refused(engine: DoomEngine) -> None:
    with pytest.raises(DataError, match="map 'MAP03': expected one of the train maps"):
        _capture(engine, "MAP03", 0, "free", 9)
    unknown = VizdoomConfig(train_maps=("MAP99",))
    with pytest.raises(DataError, match="MAP99"):
        capture_clip(unknown, map_name="MAP99", seed=0, split="train", num_frames=9)


def test_a_walk_comes_to_a_stand_and_laps_come_back(engine: DoomEngine) -> None:
    still = _capture(engine, "MAP01", 10, "still", 49)
    assert np.abs(np.diff(still.poses_c2w[28:, :3, 3], axis=0)).max() < 0.02
    tries = (_capture(engine, "MAP01", seed, "laps", 97) for seed in range(20, 32))
    laps = next(clip for clip in tries if clip.trajectory == "laps")
    apart = np.linalg.norm(laps.poses_c2w[0, :3, 3] - laps.poses_c2w[96, :3, 3])
    assert apart < 0.5
