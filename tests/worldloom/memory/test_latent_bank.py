"""The bank gives back what was committed, from RAM or from disk, in memory that does not grow."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import psutil
import pytest
import torch

from worldloom.bench.walk import random_walk
from worldloom.camera import Intrinsics
from worldloom.errors import DataError, StoreError
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.latent_bank import LatentBank

INTRINSICS = Intrinsics.from_fov(64, 64)
RETRIEVAL = RetrievalConfig(depths=4, rows=2, cols=4)
CONFIG = BankConfig(capacity=12, recent_latents=4)
SHAPE = (2, 3, 4)


def session(num_latents, seed=0):
    frames = random_walk(np.random.default_rng(seed), 4 * num_latents)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_latents, *SHAPE, generator=generator), torch.from_numpy(frames[::4])


def empty(spill_folder=None, shape=SHAPE):
    return LatentBank(CONFIG, shape, RETRIEVAL, INTRINSICS, spill_folder=spill_folder)


def filled(num_latents, spill_folder=None):
    bank = empty(spill_folder)
    bank.append(*session(num_latents))
    return bank


def evicted(bank):
    return sorted(set(range(len(bank))) - set(bank.keyframes))


def test_chosen_latents_and_poses_come_in_the_order_asked_for():
    latents, poses = session(10)
    bank = filled(10)
    assert len(bank) == 10
    assert torch.equal(bank.latents([7, 0, 7]), latents[[7, 0, 7]])
    assert torch.equal(bank.poses([3, 9]), poses[[3, 9]])
    assert bank.latents([]).shape == (0, *SHAPE)


def test_one_call_equals_many():
    latents, poses = session(60)
    many = empty()
    for start in range(0, 60, 3):
        many.append(latents[start : start + 3], poses[start : start + 3])
        newest = [start, start + 2]
        assert set(newest) <= set(many.keyframes)
        assert torch.equal(many.latents(newest), latents[newest])
    assert many.keyframes == filled(60).keyframes
    assert torch.equal(many.latents(many.keyframes), latents[many.keyframes])


def test_evicted_latents_are_read_back_bit_for_bit(tmp_path):
    latents, poses = session(200)
    bank = filled(200, tmp_path)
    assert len(evicted(bank)) == 200 - CONFIG.capacity
    mixed = [*evicted(bank)[::-7], *bank.keyframes]
    assert bank.latents(mixed).numpy().tobytes() == latents[mixed].numpy().tobytes()
    assert bank.poses(mixed).numpy().tobytes() == poses[mixed].numpy().tobytes()


def test_float32_poses_come_back_exactly(tmp_path):
    latents, poses = session(40)
    bank = empty(tmp_path)
    bank.append(latents, poses.float())
    assert torch.equal(bank.poses(range(40)).float(), poses.float())


def test_without_a_folder_an_evicted_latent_is_told_to_be_gone():
    bank = filled(40)
    gone = evicted(bank)[0]
    for ask in (bank.latents, bank.poses):
        with pytest.raises(ValueError, match=f"latent {gone}: evicted .* without a spill folder"):
            ask([0, gone])
    assert torch.equal(bank.latents(bank.keyframes), session(40)[0][bank.keyframes])


@pytest.mark.parametrize("index", [-1, 5])
def test_a_latent_that_was_never_appended_is_refused(index):
    with pytest.raises(ValueError, match="expected one of the 5"):
        filled(5).latents([index])


def test_retrieval_finds_what_is_in_ram_the_sink_first(tmp_path):
    bank = filled(100, tmp_path)
    poses = session(100)[1]
    chosen = bank.retrieve(poses[97:], 5, 96)
    assert chosen[0] == 0
    assert len(set(chosen)) == 5
    assert set(chosen) <= set(bank.keyframes)
    assert max(chosen) < 96


def test_retrieval_returns_no_more_than_there_is():
    bank = filled(3)
    assert sorted(bank.retrieve(session(3)[1], 5, 2)) == [0, 1]
    assert empty().retrieve(session(3)[1], 5, 2) == []


def test_a_resumed_bank_equals_the_one_that_went_on(tmp_path):
    latents, poses = session(150)
    bank = empty(tmp_path)
    bank.append(latents[:100], poses[:100])
    bank.close()
    resumed = LatentBank.resume(
        CONFIG, SHAPE, RETRIEVAL, INTRINSICS, spill_folder=tmp_path, num_latents=100
    )
    resumed.append(latents[100:], poses[100:])
    unbroken = filled(150)
    assert resumed.keyframes == unbroken.keyframes
    assert resumed.retrieve(poses[148:], 5, 145) == unbroken.retrieve(poses[148:], 5, 145)
    assert torch.equal(resumed.latents(range(150)), latents)


def test_a_session_with_fewer_latents_on_disk_is_not_resumed(tmp_path):
    filled(20, tmp_path).close()
    with pytest.raises(DataError, match="bytes, expected"):
        LatentBank.resume(
            CONFIG, SHAPE, RETRIEVAL, INTRINSICS, spill_folder=tmp_path, num_latents=21
        )


def test_a_folder_holds_one_session(tmp_path):
    filled(3, tmp_path)
    with pytest.raises(StoreError, match="expected a new file"):
        empty(tmp_path)


@pytest.mark.parametrize(
    ("latents", "poses", "told"),
    [
        (torch.zeros(2, 2, 3, 5), torch.eye(4).repeat(2, 1, 1), r"expected float32 \[2, 3, 4\]"),
        (torch.zeros(2, *SHAPE).double(), torch.eye(4).repeat(2, 1, 1), "torch.float64"),
        (torch.zeros(2, *SHAPE), torch.eye(4).repeat(3, 1, 1), r"expected \[2, 4, 4\], one"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_kept(tmp_path, latents, poses, told):
    bank = empty(tmp_path)
    with pytest.raises(ValueError, match=told):
        bank.append(latents, poses)
    assert len(bank) == 0
    assert len(bank.keyframes) == 0


@pytest.mark.slow
def test_memory_is_flat_once_the_bank_is_full(tmp_path):
    """Ten times as many latents as it holds, of 64 KiB each, leave nothing behind in RAM."""
    shape = (4, 64, 64)
    bank = empty(tmp_path, shape)
    latents, poses = torch.zeros(1, *shape), session(200)[1]

    def walk_on(count):
        for step in range(count):
            bank.append(latents, poses[step : step + 1])
            bank.retrieve(poses[:3], 5, len(bank) - 4)
            bank.latents([0, max(0, len(bank) - 100)])

    walk_on(40)
    process = psutil.Process()
    tracemalloc.start()
    gc.collect()
    objects, resident = tracemalloc.get_traced_memory()[0], process.memory_info().rss
    walk_on(160)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - objects
    tracemalloc.stop()
    assert grown < 160 * 80, "bytes; one kept tensor a latent would be more"
    assert process.memory_info().rss - resident < 160 * latents.nbytes / 4
    assert bank.resident_bytes == CONFIG.capacity * latents.nbytes
