"""What a folder of cells is the answer to."""

from __future__ import annotations

import pytest
import torch

from worldloom.bench.record import this_machine
from worldloom.errors import ArtifactError
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.protocol import CasesConfig
from worldloom.experiments.catalogue import EXPERIMENTS
from worldloom.experiments.run_record import (
    RunRecord,
    joined,
    read_cells,
    read_run,
    with_other_places,
    write_run,
)

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


def place(world, path, num_cases=1):
    size = {"num_frames": 13, "height": 64, "width": 64}
    return CasesConfig(world=world, path=path, num_cases=num_cases, **size)


def test_a_run_elsewhere_keeps_what_was_walked_in_other_places(tmp_path):
    walked = [("procedural", "loop"), ("procedural", "still"), ("vizdoom", "loop")]
    cells = {f"{world}-{path}-ours-0": f"sha256:{world}{path}" for world, path in walked}
    cases = tuple(place(*where) for where in walked)
    write_run(tmp_path, RECORD.model_copy(update={"cases": cases, "cells": cells}))
    begun = RECORD.model_copy(update={"cells": {}})
    found = with_other_places(begun, tmp_path, {("procedural", "loop")})
    assert found.cases == cases[1:]
    assert list(found.cells) == ["procedural-still-ours-0", "vizdoom-loop-ours-0"]
    assert with_other_places(begun, tmp_path / "empty", set()) == begun


def of_two_machines(num_cases=1):
    maze, freedoom = place("procedural", "loop"), place("vizdoom", "loop")
    here = {"cases": (maze,), "cells": {"procedural-loop-ours-0": "sha256:1"}}
    there = {
        "cases": (place("procedural", "loop", num_cases), freedoom),
        "cells": {"procedural-loop-none-0": "sha256:2", "vizdoom-loop-ours-0": "sha256:3"},
        "left_out": ("held", "random"),
    }
    here["left_out"] = ("none", "random")
    return RECORD.model_copy(update=here), RECORD.model_copy(update=there)


def test_runs_of_two_machines_are_one():
    here, there = of_two_machines()
    found = joined(here, there)
    assert found.cases == there.cases
    assert found.cells == {**here.cells, **there.cells}
    assert found.left_out == ("random",)


def test_walks_that_differ_are_not_joined():
    here, there = of_two_machines(num_cases=5)
    with pytest.raises(ArtifactError, match="procedural loop: 5 walks of 13 frames, expected 1"):
        joined(here, there)
    other = there.model_copy(update={"experiment": EXPERIMENTS["reach"]})
    with pytest.raises(ArtifactError, match="a run of reach: expected one of memory"):
        joined(here, other)
