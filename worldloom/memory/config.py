"""Settings of memory: how a frustum is sampled, how candidates compare, what stays in RAM.

It imports no torch, so that pipelines can hold these settings. It does not know how they are used.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config


class RetrievalConfig(Config):
    """How a frustum is sampled and how candidates compare."""

    method: Literal["cover", "reference"] = Field(
        "cover",
        description="cover: greedy cover without duplicates; reference: the best frame for each "
        "of five queries (Matrix-Game 3.0; reference layout)",
    )
    near_metres: float = Field(0.3, gt=0, description="nearest depth that counts, metres")
    far_metres: float = Field(10.0, gt=0, description="farthest depth that counts, metres")
    depths: int = Field(8, ge=1, description="layers of equal volume of a sampled frustum")
    rows: int = Field(4, ge=1, description="sample rows of a layer")
    cols: int = Field(8, ge=1, description="sample columns of a layer")
    distance_weight: float = Field(
        0.005, ge=0, description="cover given up for a metre or a radian nearer, share of points"
    )
    repeat_metres: float = Field(
        0.25, ge=0, description="a view this near to a much older one, in metres and ..."
    )
    repeat_degrees: float = Field(
        5.0, ge=0, le=90, description="... in degrees, repeats it: the older one is remembered"
    )
    repeat_latents: int = Field(
        6, ge=1, description="how much older that one is at least, latents: out of the recent past"
    )

    @property
    def num_points(self) -> int:
        """Sample points of one frustum."""
        return self.depths * self.rows * self.cols

    @model_validator(mode="after")
    def _has_depth(self) -> RetrievalConfig:
        if self.far_metres <= self.near_metres:
            message = f"far_metres={self.far_metres}: expected more than {self.near_metres} metres"
            raise ValueError(message)
        return self


class BankConfig(Config):
    """What of a session's past stays in RAM."""

    capacity: int = Field(128, ge=2, description="latents held in RAM: sink, keyframes and recent")
    recent_latents: int = Field(16, ge=1, description="newest latents that are never evicted")

    @model_validator(mode="after")
    def _leaves_room(self) -> BankConfig:
        if self.capacity < self.recent_latents + 2:
            message = (
                f"capacity={self.capacity}: expected at least {self.recent_latents + 2}, the recent"
                " latents, the sink and one keyframe"
            )
            raise ValueError(message)
        return self
