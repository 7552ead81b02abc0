"""What a folder of cells is the answer to."""

from __future__ import annotations

import pytest
import torch

from worldloom.bench.record import this_machine
from worldloom.errors import ArtifactError
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.experiments.catalogue import EXPERIMENTS
from worldloom.experiments.run_record import RunRecord, read_cells, read_run, write_run

RECORD = RunRecord(
    experiment=EXPERIMENTS["memory"], command="run it", machine=this_machine(torch.device("cpu")),
    cases=(), left_out=(), frechet=FrechetConfig(), cells={"procedural-loop-ours-0": "sha256:1"},
)  # fmt: skip


def test_a_record_comes_back(tmp_path):
    write_run(tmp_path, RECORD)
    assert read_run(tmp_path) == RECORD


def test_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"run\.json: missing"):
        read_run(tmp_path)


def test_a_cell_that_is_missing_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"procedural-loop-ours-0\.json: missing"):
        read_cells(tmp_path, RECORD)
