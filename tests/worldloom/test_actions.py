"""An action file is read as it was written, and each way of being wrong has its one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from worldloom.actions import (
    MAX_MOUSE_UNITS,
    NO_ACTION_KEYBOARD,
    NUM_KEYS,
    NUM_MOUSE_AXES,
    Actions,
    read_actions,
    write_actions,
)
from worldloom.errors import DataError

KEYS = [1, 0, 0, 1, 0, 0]
MOUSE = [0.0, 0.1]


def some_actions(num_frames: int = 5) -> Actions:
    generator = np.random.default_rng(3)
    keyboard = generator.integers(0, 2, (num_frames, NUM_KEYS)).astype(np.float32)
    mouse = generator.uniform(-1, 1, (num_frames, NUM_MOUSE_AXES)).astype(np.float32)
    return Actions(keyboard, mouse)


def write(path: Path, **values: object) -> Path:
    path.write_text(json.dumps({"keyboard": [KEYS] * 3, "mouse": [MOUSE] * 3} | values))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_actions(path)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    actions = some_actions()
    write_actions(tmp_path / "a.json", actions)
    read = read_actions(tmp_path / "a.json")
    assert np.array_equal(read.keyboard, actions.keyboard)
    assert np.allclose(read.mouse, actions.mouse, rtol=0, atol=1e-6)
    assert read.keyboard.dtype == read.mouse.dtype == np.float32


def test_a_slice_holds_the_same_frames_of_both() -> None:
    actions = some_actions(7)
    part = actions[2:5]
    assert len(part) == 3
    assert np.array_equal(part.keyboard, actions.keyboard[2:5])
    assert np.array_equal(part.mouse, actions.mouse[2:5])


def test_still_actions_press_and_move_nothing() -> None:
    still = Actions.still(4)
    assert len(still) == 4
    assert not still.keyboard.any()
    assert not still.mouse.any()


def test_half_a_turn_a_frame_is_still_an_action() -> None:
    mouse = np.full((2, NUM_MOUSE_AXES), MAX_MOUSE_UNITS, np.float32)
    keyboard = np.ones((2, NUM_KEYS), np.float32)
    assert np.array_equal(Actions(keyboard, -mouse).mouse, -mouse)
    with pytest.raises(DataError, match="expected a number from -12 to 12"):
        Actions(keyboard, np.nextafter(mouse, np.float32(np.inf)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert refusal(path) == f"action file {path}: No such file or directory"


@pytest.mark.parametrize("data", [b"", b"{", b"keyboard, mouse", b"\xff\xfe"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert f"action file {path}: not JSON" in refusal(path)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([], "list"),
        (3, "int"),
        ({"keyboard": []}, "['keyboard']"),
        ({"keyboard": [], "mouse": [], "gamepad": []}, "['gamepad', 'keyboard', 'mouse']"),
    ],
)
def test_wrong_keys_are_shown_beside_the_right_ones(
    tmp_path: Path, value: object, found: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    assert refusal(path).endswith(f"found {found}, expected the keys keyboard and mouse")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"keyboard": [[1, 0, 0, 1]] * 3}, "keyboard has shape [3, 4], expected [frames, 6]"),
        ({"mouse": [0.0, 0.1, 0.2]}, "mouse has shape [3], expected [frames, 2]"),
        ({"keyboard": [], "mouse": []}, "keyboard has shape [0], expected [frames, 6]"),
        ({"mouse": [MOUSE] * 2}, "keyboard has 3 frames and mouse 2"),
        (
            {"keyboard": [KEYS, KEYS, [1, 0, 0.5, 0, 0, 0]]},
            "keyboard holds a value out of range at frame 2, column 2: 0.5, expected 0 or 1",
        ),
        (
            {"keyboard": [[NO_ACTION_KEYBOARD] * 6] * 3},
            "keyboard holds a value out of range at frame 0, column 0: -1, expected 0 or 1",
        ),
        (
            {"mouse": [MOUSE, [0, float("nan")], MOUSE]},
            "mouse holds a value out of range at frame 1, column 1: nan, expected a number from"
            " -12 to 12",
        ),
        ({"mouse": [[float("inf"), 0]] * 3}, "frame 0, column 0: inf, expected a number from -12"),
        ({"mouse": [[1e39, 0]] * 3}, "frame 0, column 0: inf, expected a number from -12"),
        ({"mouse": [MOUSE, MOUSE, [0, -12.5]]}, "frame 2, column 1: -12.5, expected a number"),
        ({"keyboard": [KEYS, KEYS, KEYS[:2]]}, "rows of unequal length or not numbers"),
        ({"mouse": [["left", 0]] * 3}, "rows of unequal length or not numbers"),
        ({"mouse": [[{}, 0]] * 3}, "rows of unequal length or not numbers"),
        ({"mouse": None}, "mouse has shape [], expected [frames, 2]"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, values: dict[str, object], words: str) -> None:
    assert words in refusal(write(tmp_path / "a.json", **values))


def test_a_folder_is_no_action_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"action file {tmp_path}: Is a directory"
