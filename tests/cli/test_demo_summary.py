"""The demo's summary: the walk is measured against its recording, the answer names what is left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cli import demo_summary
from cli.demo_summary import served_frames, write_commands, write_films
from cli.demo_walk import PlayedWalks, RecordedWalk
from worldloom.actions import Actions
from worldloom.errors import ServingError

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class RecordedFrames:
    frames: Frames


@dataclass(frozen=True)
class SentWalk:
    pictures: tuple[bytes, ...]


def some_frames(count: int) -> Frames:
    return np.random.default_rng(2).integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)


def sent(frames: Frames) -> SentWalk:
    return SentWalk(tuple(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))


def recorded(name: str, frames: Frames) -> RecordedWalk:
    actions = Actions.still(len(frames) - 1)
    return RecordedWalk(name, RecordedFrames(frames), actions, Path("actions.json"))


def test_a_walk_with_a_frame_lost_is_refused() -> None:
    truth = some_frames(13)
    walks = [recorded("procedural", truth), recorded("freedoom", truth)]
    played = PlayedWalks([sent(truth), sent(truth[:-1])], {}, None, "127.0.0.1:1", 1.0)
    words = r"freedoom walk: the server sent \[12, 16, 16, 3\] frames, expected \[13, 16,"
    with pytest.raises(ServingError, match=words):
        served_frames(walks, played)


@pytest.mark.slow
def test_the_film_and_the_sheet_show_every_walk_beside_its_recording(tmp_path: Path) -> None:
    walks = [recorded("procedural", some_frames(13)), recorded("freedoom", some_frames(13))]
    write_films(tmp_path, walks, [walk.clip.frames for walk in walks])
    with av.open(str(tmp_path / "walk.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 13
    assert frames[0].shape[0] > 2 * 3 * 16  # one above the other, three times as large
    assert frames[0].shape[1] > 2 * 3 * 16
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[0] > 4 * 16


def test_commands_are_shown_one_below_the_other(tmp_path: Path) -> None:
    write_commands(tmp_path, {"turn left": some_frames(13), "turn right": some_frames(13)})
    sheet = cv2.imread(str(tmp_path / "commands.png"))
    factor = 160 // 16
    assert 2 * 16 * factor < sheet.shape[0] < 2 * 16 * factor + 60
    assert sheet.shape[1] > 9 * 16 * factor


def test_a_walk_that_is_the_recording_beats_standing_still() -> None:
    truth = some_frames(5)
    near = np.clip(truth.astype(int) + 1, 0, 255).astype(np.uint8)
    quality = demo_summary._walk_quality(near, truth)
    assert quality["psnr_db"] == pytest.approx(20 * np.log10(255), abs=0.1)
    still = demo_summary._walk_quality(np.repeat(truth[:1], 5, axis=0), truth)
    assert still["psnr_db"] == still["copy_first_frame_psnr_db"]
    assert quality["copy_first_frame_psnr_db"] == still["copy_first_frame_psnr_db"]


def test_the_answer_names_the_files_and_the_figures(tmp_path: Path) -> None:
    answer = demo_summary._answer(
        tmp_path,
        {
            "control": {"yaw_sign_accuracy": 0.98765},
            "verdict": "pass",
            "model_name": "world",
            "model_version": "3",
            "frames": 240,
            "first_frame_seconds": 0.12345,
            "frames_per_second": 41.26,
            "mlflow_command": "mlflow server",
        },
    )
    assert answer == {
        "page": str(tmp_path / "report.html"),
        "film": str(tmp_path / "walk.mp4"),
        "summary": str(tmp_path / "summary.json"),
        "verdict": "pass",
        "served": "world version 3",
        "frames": 240,
        "first_frame_seconds": 0.123,
        "frames_per_second": 41.3,
        "yaw_sign_accuracy": 0.988,
        "mlflow": "mlflow server",
    }
