"""Arms at the smallest size: equal steps, the same clips, gone on with where they were."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
import torch
from small_weights import write_starter
from tiny import CONFIG

from worldloom.errors import ArtifactError, ConfigError
from worldloom.experiments import train_arms as module
from worldloom.experiments.train_arms import TrainArmsConfig, train_arms
from worldloom.experiments.training_plans import TRAINING_PLANS, ArmTraining, TrainingPlan
from worldloom.experiments.training_record import read_training, trained_folders
from worldloom.legs.config import FeedConfig
from worldloom.train.model_checkpoint import load_model, load_model_config

SHAPE = tuple(
    f"{name}={getattr(CONFIG, name)}"
    for name in (
        "latent_channels", "latent_height", "latent_width", "dim", "num_blocks", "num_heads",
        "ffn_dim", "num_action_blocks", "action_dim", "action_num_heads", "text_dim",
        "num_memory_latents", "num_past_latents",
    )
)  # fmt: skip
SETTINGS = TrainArmsConfig(
    shape=SHAPE,
    num_seeds=1,
    num_steps=1,
    shared_steps=1,
    batch=2,
    feed=FeedConfig(
        num_workers=1, num_frames=25, procedural_clips=3, vizdoom_clips=0, held_out_clips=1
    ),
)
PLAN = TrainingPlan(
    shape=("num_memory_latents=0",),
    objective=("error_buffer.warmup_steps=0", "self_correction.rollout_clips=1"),
    shared=ArmTraining(objective=("self_correction.source=none",)),
    arms={
        "none": ArmTraining(objective=("self_correction.source=none",)),
        "cache": ArmTraining(
            objective=("self_correction.source=rollout", "error_buffer.min_strength=1")
        ),
    },
)


class Here:
    """Stands in for the pool of processes: jobs are done where they are submitted."""

    def __init__(self, *_args, **_values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def submit(self, function, job):
        future = Future()
        future.set_result(function(job))
        return future


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_starter(tmp_path_factory.mktemp("starter"))


@pytest.fixture(scope="module")
def trained(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ProcessPoolExecutor", Here)
        patch.setitem(TRAINING_PLANS, "error-buffer", PLAN)
        record = train(weights, folder)
    return folder, record


def train(weights, folder, told=None, **changes):
    return train_arms(
        "error-buffer",
        SETTINGS.model_copy(update=changes),
        weights=weights,
        data=folder / "data",
        out=folder / "out",
        tell=(told if told is not None else []).append,
    )


def test_every_arm_takes_the_same_steps_from_what_they_share(trained):
    folder, record = trained
    first = record.arms[0]
    assert (first.arm, first.seed, first.num_steps) == ("shared", 0, 1)
    assert {(arm.arm, arm.num_steps) for arm in record.arms[1:]} == {("none", 1), ("cache", 1)}
    assert all("held_out_loss" in arm.held_out for arm in record.arms)
    assert read_training(folder / "out") == record
    own = trained_folders(folder / "out")
    assert set(own) == {"none", "cache"}
    shapes = [load_model_config(folders[0]).transformer for folders in own.values()]
    assert shapes[0] == shapes[1]
    assert shapes[0].num_memory_latents == 0


def test_what_is_trained_is_not_trained_again_and_other_settings_are_refused(
    trained, weights, monkeypatch
):
    folder, record = trained
    monkeypatch.setattr(module, "ProcessPoolExecutor", Here)
    monkeypatch.setitem(TRAINING_PLANS, "error-buffer", PLAN)
    told = []
    assert train(weights, folder, told) == record
    assert told == []
    with pytest.raises(ConfigError, match="trained by other settings lie here"):
        train(weights, folder, num_steps=2)


def test_arms_may_begin_with_a_base_that_saw_more(trained, weights, tmp_path, monkeypatch):
    folder, _ = trained
    one = PLAN.model_copy(update={"arms": {"none": PLAN.arms["none"]}})
    monkeypatch.setattr(module, "ProcessPoolExecutor", Here)
    monkeypatch.setitem(TRAINING_PLANS, "error-buffer", one)
    (tmp_path / "data").symlink_to(folder / "data")
    record = train(weights, tmp_path, start="base", learning_rate=1e-9)
    assert [arm.arm for arm in record.arms] == ["none"]
    made, _ = load_model(tmp_path / "out" / "none" / "0")
    base, _ = load_model(weights / "base")
    assert made.config.num_context_latents < base.config.num_context_latents
    torch.testing.assert_close(
        made.head.weight, base.head.weight.half().float(), atol=1e-3, rtol=1e-3
    )


def test_a_base_of_another_shape_is_refused(trained, weights, monkeypatch):
    folder, _ = trained
    monkeypatch.setattr(module, "ProcessPoolExecutor", Here)
    monkeypatch.setitem(TRAINING_PLANS, "error-buffer", PLAN)
    wider = (*SHAPE, "ffn_dim=48")
    with pytest.raises(ArtifactError, match=r"base: other tensors than the arms' \(blocks"):
        train_arms(
            "error-buffer",
            SETTINGS.model_copy(update={"start": "base", "shape": wider}),
            weights=weights,
            data=folder / "data",
            out=folder / "wider",
            tell=str,
        )


def test_an_experiment_whose_arms_need_no_training_is_refused(weights, tmp_path):
    with pytest.raises(ConfigError, match="its arms need no training of their own"):
        train_arms("memory", SETTINGS, weights=weights, data=tmp_path, out=tmp_path, tell=str)


def test_students_without_a_teacher_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="expected the transformer that all arms begin with"):
        train_arms("student", SETTINGS, weights=tmp_path, data=tmp_path, out=tmp_path, tell=str)


def test_a_shape_that_does_not_fit_is_refused_before_anything_is_rendered(weights, tmp_path):
    with pytest.raises(ConfigError, match="reach"):
        train_arms(
            "reach",
            SETTINGS.model_copy(update={"shape": ("reach=far",)}),
            weights=weights,
            data=tmp_path / "data",
            out=tmp_path,
            tell=str,
        )
    assert not (tmp_path / "data").exists()
