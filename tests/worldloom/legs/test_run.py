"""A leg that cannot begin says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldloom.errors import ArtifactError
from worldloom.legs.config import FeedConfig, LegConfig
from worldloom.legs.run import run_leg

CONFIG = LegConfig(
    stage="actions",
    preset="nano-stream",
    max_steps=2,
    feed=FeedConfig(num_workers=1, num_frames=25, vizdoom_clips=0),
)


def test_a_stage_whose_weights_are_missing_says_which(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="train the stage vae first"):
        run_leg(CONFIG, data=tmp_path / "data", weights=tmp_path, out=tmp_path / "out")


def test_an_optimizer_that_a_stage_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer='muon' for the stage decoder: expected"):
        LegConfig(stage="decoder", optimizer="muon")
    assert LegConfig(stage="memory", optimizer="muon").optimizer == "muon"
