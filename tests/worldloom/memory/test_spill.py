"""What is spilled comes back bit for bit; a file that is not whole is refused with its sizes."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from worldloom.errors import DataError, StoreError
from worldloom.memory.spill import FILE_NAME, SpillFile

SHAPE = (3, 2, 4)
HEADER_BYTES = 20
RECORD_BYTES = 4 * 3 * 2 * 4 + 16 * 8


def records(count):
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(count, *SHAPE, generator=generator)
    latents[0, 0, 0] = torch.tensor([0.0, -0.0, float("inf"), 1e-42])
    poses = torch.randn(count, 4, 4, generator=generator, dtype=torch.float64)
    return latents, poses


@pytest.fixture
def spill(tmp_path):
    file = SpillFile.create(tmp_path / "session" / FILE_NAME, SHAPE)
    for latent, pose in zip(*records(5), strict=True):
        file.append(latent, pose)
    yield file
    file.close()


def is_bit_equal(first, second):
    return first.dtype == second.dtype and first.numpy().tobytes() == second.numpy().tobytes()


def test_records_come_back_bit_for_bit_in_any_order(spill):
    latents, poses = records(5)
    for index in (4, 0, 2, 0):
        latent, pose = spill.read(index)
        assert is_bit_equal(latent, latents[index])
        assert is_bit_equal(pose, poses[index])


def test_a_file_is_a_header_and_records_of_one_size(spill):
    assert spill.record_bytes == RECORD_BYTES
    assert spill.path.stat().st_size == HEADER_BYTES + 5 * RECORD_BYTES


def test_a_closed_file_is_opened_and_gone_on_with(spill):
    spill.close()
    again = SpillFile.open(spill.path, SHAPE, num_records=5)
    again.append(*(values[0] for values in records(1)))
    assert len(again) == 6
    assert is_bit_equal(again.read(5)[0], records(1)[0][0])
    assert is_bit_equal(again.read(4)[0], records(5)[0][4])
    again.close()


def test_a_second_session_in_the_same_folder_is_refused(spill):
    with pytest.raises(StoreError, match=f"{spill.path}: cannot be begun .*expected a new file"):
        SpillFile.create(spill.path, SHAPE)


@pytest.mark.parametrize("lost", [1, RECORD_BYTES - 1])
def test_a_file_cut_within_a_record_is_refused_with_both_sizes(spill, lost):
    whole = HEADER_BYTES + 5 * RECORD_BYTES
    os.truncate(spill.path, whole - lost)
    with pytest.raises(DataError) as told:
        SpillFile.open(spill.path, SHAPE)
    assert str(told.value) == f"spill file {spill.path}: {whole - lost} bytes, expected {whole}"


def test_a_file_cut_between_records_is_refused_by_who_knows_their_number(spill):
    os.truncate(spill.path, HEADER_BYTES + 4 * RECORD_BYTES)
    SpillFile.open(spill.path, SHAPE).close()
    with pytest.raises(DataError, match=f"expected {HEADER_BYTES + 5 * RECORD_BYTES}"):
        SpillFile.open(spill.path, SHAPE, num_records=5)


def test_a_file_that_shrinks_while_it_is_open_is_noticed(spill):
    os.truncate(spill.path, HEADER_BYTES + 2 * RECORD_BYTES)
    with pytest.raises(DataError, match=f"expected {HEADER_BYTES + 5 * RECORD_BYTES}"):
        spill.read(3)


def test_latents_of_another_shape_are_refused(spill):
    with pytest.raises(DataError, match=r"latents \[3, 2, 4\] .*expected .*latents \[3, 4, 4\]"):
        SpillFile.open(spill.path, (3, 4, 4))


@pytest.mark.parametrize("content", [b"", b"WLLAT", b"\x00" * 500])
def test_a_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}: header .*expected b'WLLATNT1'"):
        SpillFile.open(path, SHAPE)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        SpillFile.open(tmp_path / FILE_NAME, SHAPE)


@pytest.mark.parametrize("index", [-1, 5])
def test_a_record_that_was_never_written_is_refused(spill, index):
    with pytest.raises(ValueError, match=r"expected one of 0 \.\. 4"):
        spill.read(index)


def test_a_full_disk_leaves_whole_records(spill):
    """A limit on the size of files stands for the disk."""
    whole = HEADER_BYTES + 5 * RECORD_BYTES
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 10, before[1]))
    try:
        with pytest.raises(StoreError, match=f"record 5 cannot be written .*{RECORD_BYTES} bytes"):
            spill.append(*(values[0] for values in records(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert spill.path.stat().st_size == whole
    assert len(spill) == 5
    spill.append(*(values[0] for values in records(1)))
    assert is_bit_equal(spill.read(5)[0], records(1)[0][0])
