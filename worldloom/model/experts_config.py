"""Which experts share the noise levels, apart from the code that needs torch.

Wan2.2-A14B has one transformer for high noise (what is where, how it moves) and one for low noise
(what it looks like); Matrix-Game 3.0's 2x14B has two of the first kind, by view, which read
actions, and a shared second one, which does not. This knows shapes and names, no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, field_validator

from worldloom.config import Config
from worldloom.model.config import TransformerConfig

View = Literal["first_person", "third_person"]

LOW_NOISE = "low_noise"
_HIGH_NOISE = "high_noise"


class ExpertsConfig(Config):
    """Experts of one shape, chosen by noise level and view."""

    noise_boundary: float = Field(
        0.9, gt=0, lt=1, description="noise level from which on, upwards, a high-noise expert runs"
    )
    views: tuple[View, ...] = Field(
        ("first_person", "third_person"), description="views that have a high-noise expert each"
    )
    low_noise_action_blocks: int = Field(
        0, ge=0, description="blocks with actions in the low-noise expert"
    )

    @field_validator("views")
    @classmethod
    def _are_distinct(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if not views or len(set(views)) < len(views):
            message = f"views {views}: expected one or more, none of them twice"
            raise ValueError(message)
        return views


def high_noise(view: View) -> str:
    """Return the name of a view's high-noise expert."""
    return f"{_HIGH_NOISE}_{view}"


def expert_shapes(
    transformer: TransformerConfig, experts: ExpertsConfig
) -> Mapping[str, TransformerConfig]:
    """Return each expert's shape by name: high-noise ones as they are views, then the shared one.

    Raises:
        ValueError: in the stream layout: committed keys and values belong to the weights that
            made them, so each expert would need a cache of its own.
    """
    if transformer.layout != "reference":
        message = (
            f"experts in layout {transformer.layout!r}: committed keys and values are one "
            "transformer's, expected layout 'reference'"
        )
        raise ValueError(message)
    shapes = {high_noise(view): transformer for view in experts.views}
    update = {"num_action_blocks": experts.low_noise_action_blocks}
    return {**shapes, LOW_NOISE: transformer.model_copy(update=update)}


def resident_shapes(
    transformer: TransformerConfig, experts: ExpertsConfig | None
) -> list[TransformerConfig]:
    """Return the shapes of what a session needs at hand: a view's expert and the shared one."""
    if experts is None:
        return [transformer]
    shapes = expert_shapes(transformer, experts)
    return [shapes[high_noise(experts.views[0])], shapes[LOW_NOISE]]


def expert_of(sigma: float, view: View, experts: ExpertsConfig) -> str:
    """Return the expert of a noise level and view; the boundary itself is high noise (Wan2.2)."""
    return high_noise(view) if sigma >= experts.noise_boundary else LOW_NOISE


def evaluations_by_expert(sigmas: Sequence[float], experts: ExpertsConfig) -> Mapping[str, int]:
    """Return how many of the levels fall to each expert in a session of the first view."""
    names = [*map(high_noise, experts.views), LOW_NOISE]
    asked = [expert_of(sigma, experts.views[0], experts) for sigma in sigmas]
    return {name: asked.count(name) for name in names}
