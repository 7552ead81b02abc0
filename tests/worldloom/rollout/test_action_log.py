import errno
import os

import numpy as np
import pytest
import torch

from worldloom.actions import Actions
from worldloom.errors import StoreError
from worldloom.rollout.action_log import ActionLog
from worldloom.rollout.segment import action_windows

NUM_LATENTS = 3  # whose actions one latent reads


def rows(num_frames, seed=0):
    rng = np.random.default_rng(seed)
    keyboard = (rng.random((num_frames, 6)) < 0.5).astype(np.float32)
    return Actions(keyboard, rng.uniform(-1, 1, (num_frames, 2)).astype(np.float32))


def joined(*parts):
    return np.concatenate([np.concatenate([a.keyboard, a.mouse], axis=1) for a in parts])


@pytest.fixture
def log(tmp_path):
    actions = ActionLog(tmp_path / "actions.records")
    yield actions
    actions.close()


def test_actions_come_back_bit_for_bit(log):
    first, then = rows(1), rows(12, seed=1)
    log.append(first)
    log.append(then)
    assert len(log) == 4
    found = log.frames(range(4))
    assert found.dtype == np.float32
    assert found[0].tobytes() == np.repeat(joined(first), 4, axis=0).tobytes()  # one frame as four
    assert found[1:].tobytes() == joined(then).tobytes()


def test_windows_are_those_of_the_whole_history_before_and_after_they_are_stored(log):
    parts = [rows(1), rows(12, seed=1), rows(12, seed=2), rows(4, seed=3)]
    history = torch.from_numpy(joined(*parts))[None]
    start = 0
    for part in parts:
        count = -(-len(part) // 4)
        at = torch.arange(start, start + count)[None]
        expected = action_windows(history, at, 4 * NUM_LATENTS)[0].numpy()
        coming = log.windows_after(part, NUM_LATENTS)
        log.append(part)
        stored = log.windows(range(start, start + count), NUM_LATENTS)
        assert coming.tobytes() == expected.tobytes()
        assert stored.tobytes() == expected.tobytes()
        start += count
    every = action_windows(history, torch.arange(start)[None], 4 * NUM_LATENTS)[0].numpy()
    assert log.windows(range(start), NUM_LATENTS).tobytes() == every.tobytes()


def test_the_start_images_single_action_fills_its_window(log):
    still = rows(1)
    for found in (log.windows_after(still, NUM_LATENTS),):
        assert found.shape == (1, 4 * NUM_LATENTS, 8)
        assert (found == joined(still)).all()
    log.append(still)
    assert (log.windows(range(1), NUM_LATENTS) == joined(still)).all()


def test_a_first_segment_with_its_image_is_cut_after_the_first_frame(log):
    """57 frames are 15 latents: the image alone, then fours."""
    first = rows(57)
    log.append(first)
    assert len(log) == 15
    frames = log.frames(range(15)).reshape(60, 8)
    assert frames[3:].tobytes() == joined(first).tobytes()
    assert (frames[:4] == joined(first)[0]).all()


def test_a_file_that_is_there_is_not_overwritten(log):
    with pytest.raises(StoreError, match=r"File exists.*expected a new file"):
        ActionLog(log.path)


@pytest.mark.parametrize("is_short", [False, True])
def test_a_full_disk_is_an_error_and_loses_nothing_earlier(log, monkeypatch, is_short):
    first = rows(1)
    log.append(first)
    write = os.pwrite

    def full(descriptor, data, offset):
        if is_short:
            return write(descriptor, data[:7], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="7 bytes written" if is_short else "No space left"):
        log.append(rows(12, seed=1))
    assert len(log) == 1
    assert (log.frames([0])[0] == joined(first)).all()
    monkeypatch.undo()
    log.append(rows(12, seed=2))  # when there is room again it goes on where it was
    assert log.frames(range(1, 4)).tobytes() == joined(rows(12, seed=2)).tobytes()


def test_actions_that_were_never_appended_are_refused(tmp_path):
    log = ActionLog(tmp_path / "actions.records")
    log.append(Actions.still(1))
    with pytest.raises(ValueError, match="latent 1: expected one of the 1 with actions"):
        log.frames([0, 1])
