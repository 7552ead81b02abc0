"""Files in volumes of bounded size."""

from __future__ import annotations

import pytest
import torch

from worldloom.bench.record import this_machine
from worldloom.errors import ArtifactError
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.protocol import CasesConfig
from worldloom.experiments.catalogue import EXPERIMENTS
from worldloom.experiments.packing import pack_cells, unpack_cells
from worldloom.experiments.run_record import RunRecord, read_run, write_run

RECORD = RunRecord(
    experiment=EXPERIMENTS["memory"], command="run it", machine=this_machine(torch.device("cpu")),
    cases=(), left_out=(), frechet=FrechetConfig(), cells={},
)  # fmt: skip


def write(folder, **sizes):
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        (folder / f"{name}.npz").write_bytes(name.encode()[:1] * size)
    return folder


def test_no_volume_is_larger_than_asked_and_nothing_is_lost(tmp_path):
    folder = write(tmp_path / "memory", a=30_000, b=30_000, c=30_000, d=100)
    volumes = pack_cells(folder, tmp_path / "out", most_bytes=75_000)
    assert [volume.name for volume in volumes] == ["memory-0.tar", "memory-1.tar"]
    assert max(volume.stat().st_size for volume in volumes) <= 75_000
    unpack_cells(volumes, tmp_path / "home")
    back = tmp_path / "home" / "memory"
    for path in folder.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()


def test_first_frames_stay_behind(tmp_path):
    folder = write(tmp_path / "memory", a=10)
    (folder / "a.first.npz").write_bytes(b"large")
    unpack_cells(pack_cells(folder, tmp_path / "out"), tmp_path / "home")
    assert [path.name for path in (tmp_path / "home" / "memory").iterdir()] == ["a.npz"]


def test_a_file_that_fits_nowhere_is_named(tmp_path):
    folder = write(tmp_path / "memory", a=100_000)
    with pytest.raises(ArtifactError, match=r"a\.npz: 100000 bytes, expected at most 50000"):
        pack_cells(folder, tmp_path / "out", most_bytes=50_000)


def test_a_run_that_is_there_is_joined_and_one_that_differs_changes_nothing(tmp_path):
    parts = {}
    for world, num_cases in (("procedural", 1), ("vizdoom", 1), ("vizdoom", 2)):
        folder = write(tmp_path / f"{world}{num_cases}" / "memory", **{f"{world}-a": 10})
        cases = CasesConfig(
            world=world, path="loop", num_cases=num_cases, num_frames=13, height=64, width=64
        )
        write_run(folder, RECORD.model_copy(update={"cases": (cases,), "cells": {world: "x"}}))
        parts[world, num_cases] = pack_cells(folder, tmp_path / "packed" / f"{world}{num_cases}")
    home = tmp_path / "home"
    unpack_cells([*parts["procedural", 1], *parts["vizdoom", 1]], home)
    found = read_run(home / "memory")
    assert [case.world for case in found.cases] == ["procedural", "vizdoom"]
    assert found.cells == {"procedural": "x", "vizdoom": "x"}
    with pytest.raises(ArtifactError, match="vizdoom loop: 2 walks"):
        unpack_cells(parts["vizdoom", 2], home)
    assert read_run(home / "memory") == found
