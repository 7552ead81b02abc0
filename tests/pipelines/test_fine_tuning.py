"""Fine-tuning from starter weights: slowly, and as long whatever the frames."""

from __future__ import annotations

import pytest

from pipelines.fine_tuning import fine_tuning_values
from pipelines.presets import PRESETS

SMALL, LARGE = (64, 64), (96, 160)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_it_learns_more_slowly_than_from_nothing_and_ends_at_nothing(size: tuple[int, int]) -> None:
    [learner, of_preset] = [
        values["train_transformer"]["trainer"]["learner"]
        for values in (fine_tuning_values("demo", size), PRESETS["demo"])
    ]
    assert learner["learning_rate"] < of_preset["learning_rate"] / 10
    assert (learner["schedule"], learner["final_fraction"]) == ("cosine", 0.0)


def test_larger_frames_get_fewer_steps_and_clips() -> None:
    small, large = (fine_tuning_values("demo", size) for size in (SMALL, LARGE))
    steps = [values["train_transformer"]["trainer"]["num_steps"] for values in (small, large)]
    assert steps[1] < steps[0] / 3
    assert small["ingest"] == PRESETS["demo"]["ingest"]
    for source in ("procedural_clips", "vizdoom_clips"):
        assert large["ingest"][source]["train"] < small["ingest"][source]["train"]


def test_it_is_the_demos_alone() -> None:
    assert fine_tuning_values("smallest", LARGE) == {}


def test_a_large_student_is_not_pulled_to_the_mean_of_what_could_be_there() -> None:
    distillation = fine_tuning_values("demo", LARGE)["distil_student"]["distillation"]
    assert distillation["regression_weight"] == 0.0
