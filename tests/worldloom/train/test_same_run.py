"""A checkpoint of other settings is refused with what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldloom.errors import TrainingError
from worldloom.train.same_run import require_same_settings

PATH = Path("folder/training.safetensors")
SAVED = {"trainer": {"seed": 0, "num_steps": 10, "betas": [0.9, 0.99]}, "clips": "sha256:a"}


def test_the_same_settings_pass_and_some_may_change() -> None:
    require_same_settings(PATH, SAVED, SAVED)
    longer = {**SAVED, "trainer": {"seed": 0, "num_steps": 20, "betas": (0.9, 0.99)}}
    require_same_settings(PATH, SAVED, longer, may_change=["trainer.num_steps"])


def test_what_differs_is_named_with_both_values() -> None:
    other = {"trainer": {"seed": 3, "num_steps": 10, "betas": [0.9, 0.99]}, "more": 1}
    with pytest.raises(TrainingError) as caught:
        require_same_settings(PATH, SAVED, other)
    assert str(caught.value) == (
        f"{PATH}: the checkpoint is of another run (clips='sha256:a' then, 'nothing' now; "
        "more='nothing' then, 1 now; trainer.seed=0 then, 3 now), expected the same settings or "
        "another folder"
    )


def test_a_long_list_is_cut() -> None:
    with pytest.raises(TrainingError, match="and 3 more"):
        require_same_settings(PATH, {str(n): n for n in range(8)}, {})
