"""Settings of the ViZDoom source, apart from it so that a pipeline is configured without an engine.

It does not know the engine.
"""

from __future__ import annotations

from pydantic import Field

from worldloom.camera import Intrinsics, Kinematics
from worldloom.config import Config
from worldloom.data.schema import Split


class VizdoomConfig(Config):
    """How Freedoom's maps are recorded."""

    train_maps: tuple[str, ...] = Field(
        ("MAP01", "MAP02", "MAP04", "MAP05", "MAP06", "MAP07", "MAP09", "MAP10", "MAP11", "MAP13"),
        min_length=1,
        description="maps of freedoom2.wad to learn from",
    )
    test_maps: tuple[str, ...] = Field(
        ("MAP03", "MAP08", "MAP12", "MAP14"),
        min_length=1,
        description="maps of freedoom2.wad never learnt from",
    )
    height: int = Field(64, gt=0, description="frame height, pixels; at most the width")
    width: int = Field(64, gt=0, description="frame width, pixels")
    gamma: float = Field(1.6, gt=0, description="brightening of the engine's dim picture")
    tics_per_frame: int = Field(2, ge=1, description="engine tics (1/35 s) a frame")
    kinematics: Kinematics = Field(Kinematics(), description="what an action moves")

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera of the frames: 90 degrees across."""
        return Intrinsics.from_fov(self.height, self.width)

    def maps(self, split: Split) -> tuple[str, ...]:
        """Return the maps of a split."""
        return self.train_maps if split == "train" else self.test_maps
