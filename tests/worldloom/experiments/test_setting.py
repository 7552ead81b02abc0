"""How much is run, in which order, and by how many processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from worldloom.errors import ConfigError
from worldloom.evaluate.inverse_dynamics_training import InverseDynamicsTraining
from worldloom.evaluate.protocol import CasesConfig
from worldloom.experiments.catalogue import DECODER, MEMORY
from worldloom.experiments.networks import WeightFolders
from worldloom.experiments.setting import RunConfig, Setting


def setting(experiment=MEMORY, folder=Path("cells"), **values):
    folders = WeightFolders([Path("starter")], {})
    return Setting(experiment, RunConfig(**values), folders, folder, torch.device("cpu"), "")


def test_the_control_comes_first_and_the_others_keep_their_order():
    assert [arm.name for arm in setting().arms()] == [
        "none", "ours", "held", "reference", "random", "oracle",
    ]  # fmt: skip


def test_arms_are_those_that_are_asked_for():
    asked = setting(arms=("ours", "none"))
    assert [arm.name for arm in asked.arms()] == ["none", "ours"]
    with pytest.raises(ConfigError, match="arms best: experiment memory has ours, held"):
        setting(arms=("ours", "best")).arms()


def test_a_way_that_none_of_the_arms_walks_is_not_planned():
    assert [plan.path for plan in setting(arms=("oracle",)).plans()] == ["return"]
    with pytest.raises(ConfigError, match="memory has return, expected"):
        setting(arms=("oracle",), paths=("laps",)).plans()


def test_cut_decoders_alone_take_the_steps_that_are_asked_for():
    assert [arm.decoder_steps for arm in setting(DECODER, decoder_steps=7).arms()] == [0, 7, 7]
    assert [arm.decoder_steps for arm in setting(DECODER).arms()] == [0, 600, 600]


def test_ways_are_those_that_are_asked_for():
    assert [plan.path for plan in setting(paths=("laps",)).plans()] == ["laps"]
    with pytest.raises(ConfigError, match="memory has return, laps"):
        setting(paths=("loop",)).plans()


def test_walks_of_a_kind_may_be_fewer_than_of_others():
    asked = setting(num_cases=12, cases={"laps": 4})
    assert [asked.num_cases(plan) for plan in MEMORY.walks] == [12, 4]
    assert [setting().num_cases(plan) for plan in MEMORY.walks] == [48, 24]


@pytest.mark.slow
def test_several_processes_answer_in_order():
    shared = setting(num_workers=2)
    try:
        assert shared.mapped(abs, range(-3, 3)) == [3, 2, 1, 0, 1, 2]
    finally:
        shared.close()


def niceness(_item):
    return os.nice(0)


@pytest.mark.slow
def test_processes_that_measure_stand_behind_the_one_that_walks():
    shared = setting(num_workers=2)
    try:
        assert shared.mapped(niceness, [0]) == [os.nice(0) + 5]
    finally:
        shared.close()


def test_a_reader_is_taught_once_and_kept(tmp_path):
    training = InverseDynamicsTraining(num_clips=1, clip_frames=9, num_steps=1, batch_size=2)
    cases = CasesConfig(
        world="procedural", path="loop", num_cases=1, num_frames=9, height=32, width=32
    )
    told: list[str] = []
    shared = setting(folder=tmp_path / "memory", reader=training)
    shared.tell = told.append
    first, second = shared.reader(cases), shared.reader(cases)
    assert len(told) == 1
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert setting(reader=None).reader(cases) is None
