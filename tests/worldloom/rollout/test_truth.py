import errno
import gc
import os

import numpy as np
import pytest
import torch
from tiny import CONFIG, INTRINSICS

from worldloom.actions import Actions
from worldloom.camera import pose_matrix
from worldloom.errors import StoreError
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.rollout.segment import action_windows
from worldloom.rollout.truth import SessionTruth, segment_of

SHAPE = (CONFIG.latent_channels, CONFIG.latent_height, CONFIG.latent_width)
REFERENCE = TransformerConfig(
    layout="reference", position="lattice", first_segment_latents=15, segment_latents=10
)
SMALL_BANK = BankConfig(capacity=6, recent_latents=2)  # most of a walk is on disk alone


def part(count, seed):
    """Latents, poses and actions of a segment; one latent is the start image's."""
    rng = np.random.default_rng(seed)
    latents = torch.from_numpy(rng.standard_normal((1, SHAPE[0], count, *SHAPE[1:]))).float()
    poses = np.stack(
        [pose_matrix(rng.uniform(-3, 3, 3), rng.uniform(-3, 3), 0.0) for _ in range(count)]
    )
    frames = 1 if count == 1 else 4 * count
    keyboard = (rng.random((frames, 6)) < 0.5).astype(np.float32)
    return latents, poses, Actions(keyboard, rng.uniform(-1, 1, (frames, 2)).astype(np.float32))


PARTS = [part(1, 0), *(part(3, seed) for seed in range(1, 7))]


@pytest.fixture
def truth(tmp_path):
    made = SessionTruth(CONFIG, SMALL_BANK, RetrievalConfig(), INTRINSICS, tmp_path)
    yield made
    made.close()


def walked(truth):
    for values in PARTS:
        truth.append(*values)
    return truth


def test_latents_belong_to_the_segment_that_they_were_generated_in():
    stream = [segment_of(latent, CONFIG) for latent in range(8)]
    assert stream == [range(1), *[range(1, 4)] * 3, *[range(4, 7)] * 3, range(7, 10)]
    assert segment_of(0, REFERENCE) == segment_of(14, REFERENCE) == range(15)
    assert segment_of(15, REFERENCE) == segment_of(24, REFERENCE) == range(15, 25)
    assert segment_of(25, REFERENCE) == range(25, 35)
    single = CONFIG.model_copy(update={"segment_latents": 1})
    assert segment_of(7, single) == range(7, 8)


def test_a_snapshot_is_bit_for_bit_what_came(truth):
    state = walked(truth).snapshot()
    assert len(truth) == len(state.latents) == 19
    latents = torch.cat([values[0][0].transpose(0, 1) for values in PARTS])
    assert torch.equal(state.latents, latents)
    assert state.poses.tobytes() == np.concatenate([values[1] for values in PARTS]).tobytes()
    for name in ("keyboard", "mouse"):
        came = np.concatenate([getattr(values[2], name) for values in PARTS])
        assert getattr(state, name).tobytes() == came.tobytes()


@pytest.mark.parametrize("start", [0, 1, 4, 16, 18])
def test_a_snapshot_from_a_latent_on_is_the_end_of_the_whole(truth, start):
    whole, later = walked(truth).snapshot(), truth.snapshot(start)
    assert torch.equal(later.latents, whole.latents[start:])
    assert np.array_equal(later.poses, whole.poses[start:])
    first_frame = 4 * start - 3 if start else 0
    assert np.array_equal(later.keyboard, whole.keyboard[first_frame:])
    assert np.array_equal(later.mouse, whole.mouse[first_frame:])


def test_a_snapshot_of_what_is_not_there_yet_is_refused(truth):
    with pytest.raises(ValueError, match="snapshot from latent 19: expected one of the 19"):
        walked(truth).snapshot(19)


def test_a_truth_fed_with_a_snapshots_segments_gives_the_same_snapshot(truth, tmp_path):
    state = walked(truth).snapshot()
    again = SessionTruth(CONFIG, BankConfig(), RetrievalConfig(), INTRINSICS, tmp_path)
    groups = []
    for group, latents, poses, actions in state.segments(CONFIG):
        again.append(latents, poses, actions)
        groups.append(group)
    assert groups == [segment_of(i, CONFIG) for i in (0, *range(1, 19, 3))]
    other = again.snapshot()
    assert torch.equal(other.latents, state.latents)
    for name in ("poses", "keyboard", "mouse"):
        assert getattr(other, name).tobytes() == getattr(state, name).tobytes()
    again.close()


def test_windows_are_those_of_the_whole_history_wherever_they_come_from(truth):
    window = CONFIG.action_window_frames
    rows = [np.concatenate([p[2].keyboard, p[2].mouse], axis=1) for p in PARTS]
    history = torch.from_numpy(np.concatenate(rows))[None]
    for values in PARTS:
        start, count = len(truth), values[0].shape[2]
        at = torch.arange(start, start + count)[None]
        expected = action_windows(history, at, window)
        coming = truth.windows_after(values[2])
        truth.append(*values)
        stored = truth.windows(range(start, start + count))
        for found in (coming, stored):
            assert torch.equal(torch.cat(found, dim=-1), expected)
            assert [part.shape[-1] for part in found] == [6, 2]


def test_any_latent_is_read_back_from_memory_or_disk(truth):
    walked(truth)
    latents = torch.cat([values[0] for values in PARTS], dim=2)
    poses = np.concatenate([values[1] for values in PARTS])
    assert torch.equal(truth.latents(range(5, 8)), latents[:, :, 5:8])
    assert torch.equal(truth.latents([17, 2, 9]), latents[:, :, [17, 2, 9]])
    assert truth.poses([3, 18]).tobytes() == poses[[3, 18]].tobytes()
    assert (truth.latest_pose == poses[18]).all()


def test_memory_is_never_chosen_among_the_recent_past(truth):
    walked(truth)
    queries = PARTS[2][1]
    chosen = truth.retrieve(queries, 3, 16)
    assert 0 < len(chosen) <= 3
    assert max(chosen) < 16
    assert truth.retrieve(queries, 3, 0) == []


def test_a_sessions_files_go_with_it(tmp_path):
    one, other = (
        SessionTruth(CONFIG, SMALL_BANK, RetrievalConfig(), INTRINSICS, tmp_path) for _ in range(2)
    )
    walked(one)
    assert len(list(tmp_path.iterdir())) == 2  # a folder each
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) > 0
    one.close()
    assert len(list(tmp_path.iterdir())) == 1
    other.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fails_at", [0, 1, 3])
def test_a_full_disk_is_an_error_and_loses_nothing_earlier(truth, monkeypatch, fails_at):
    """Whichever write is refused, of the actions (0) or of a latent: what was there is there."""
    for values in PARTS[:3]:
        truth.append(*values)
    before, write, writes = truth.snapshot(), os.pwrite, []

    def filling(descriptor, data, offset):
        writes.append(len(data))
        if len(writes) > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(StoreError, match="No space left on device"):
        truth.append(*PARTS[3])
    monkeypatch.undo()
    after = truth.snapshot()
    assert len(truth) == 7
    assert torch.equal(after.latents, before.latents)
    assert after.poses.tobytes() == before.poses.tobytes()
    assert after.keyboard.tobytes() == before.keyboard.tobytes()
    assert after.mouse.tobytes() == before.mouse.tobytes()
    with pytest.raises(StoreError, match="session of 7 latents: its files hold part of a segment"):
        truth.append(*PARTS[3])


@pytest.mark.slow
def test_the_files_of_a_session_that_is_dropped_go_with_it(tmp_path):
    truth = SessionTruth(CONFIG, SMALL_BANK, RetrievalConfig(), INTRINSICS, tmp_path)
    walked(truth)
    assert len(list(tmp_path.iterdir())) == 1
    del truth
    gc.collect()
    assert not list(tmp_path.iterdir())
