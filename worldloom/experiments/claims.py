"""What an experiment must reach, as data, and what came of it.

A claim is one figure of one arm on one kind of walk: its value, what it has more than another arm's
(paired), or its ratio to another arm's (drawn with the same seeds and walks on both sides). Its
limits are told world by world; without one the figure is printed and judged by nobody. It is
reached when the whole interval lies on the right side of the limit. It does not know where figures
come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.evaluate.protocol import PathKind

SEGMENT_SECONDS = "segment_seconds"
DENOISE_SECONDS = "denoise_seconds"
STORED_RATIO = "stored_ratio"
COSTS = (SEGMENT_SECONDS, DENOISE_SECONDS, STORED_RATIO)
"""Figures of an arm and not of a walk: they have no interval."""

_LEAST_WALKS = 4  # an interval of fewer is a matter of chance, that of one has no width

Comparison = Literal["value", "difference", "ratio"]
Outcome = Literal[
    "reached", "reached by the mean alone", "not reached", "too few walks", "no limit", "no answer"
]


class Limit(Config):
    """What a figure must keep within."""

    least: float | None = Field(None, description="at least this")
    most: float | None = Field(None, description="at most this")
    goal: float | None = Field(None, description="what would be good, beyond the limit")

    @property
    def told(self) -> str:
        """The limit in words; nothing for none."""
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (("at least", self.least), ("at most", self.most))
            if bound is not None
        ]
        goal = "" if self.goal is None else f" (goal {self.goal:g})"
        return ", ".join(bounds) + goal

    def holds(self, low: float, high: float) -> bool:
        """Tell whether everything from `low` to `high` keeps within it."""
        return (self.least is None or low >= self.least) and (
            self.most is None or high <= self.most
        )


class Claim(Config):
    """One thing that must show."""

    says: str = Field(description="what is claimed, in a few words")
    figure: str = Field(description="by which figure")
    path: PathKind = Field("return", description="on which walks")
    arm: str = Field(description="of which arm")
    comparison: Comparison = Field("value", description="what of it")
    against: str | None = Field(None, description="the arm that it is compared with")
    is_of_loss: bool = Field(
        False,
        description="a ratio of falls: asked only where the other arm's figure lies below zero",
    )
    limits: Mapping[str, Limit] = Field(
        default_factory=dict, description="limits by world; the figure is printed in others"
    )

    @model_validator(mode="after")
    def _has_both_sides(self) -> Claim:
        if (self.against is None) != (self.comparison == "value"):
            message = (
                f"claim {self.says!r}: comparison {self.comparison!r} against {self.against!r}, "
                "expected an arm for a difference or a ratio, and none for a value"
            )
            raise ValueError(message)
        return self


class Found(Config):
    """A figure with its interval; an arm's cost has none."""

    mean: float = Field(description="the figure")
    low: float | None = Field(None, description="lower end of the interval")
    high: float | None = Field(None, description="upper end of the interval")
    num_walks: int | None = Field(None, ge=1, description="walks that have the figure")
    num_seeds: int | None = Field(
        None, ge=1, description="training seeds; of two arms, those of the one that has more"
    )


class Answer(Config):
    """What came of a claim in one world."""

    claim: Claim = Field(description="what was claimed")
    world: str = Field(description="where")
    found: Found | None = Field(
        None, description="what was found; None for a ratio to what may be zero, or no fall"
    )
    outcome: Outcome = Field(description="what that says of the claim")


def answer(claim: Claim, world: str, found: Found | None) -> Answer:
    """Return what a figure says of a claim in one world."""
    return Answer(claim=claim, world=world, found=found, outcome=_outcome(claim, world, found))


def _outcome(claim: Claim, world: str, found: Found | None) -> Outcome:
    limit = claim.limits.get(world)
    if found is None:
        return "no answer"
    if limit is None:
        return "no limit"
    if found.num_walks is not None and found.num_walks < _LEAST_WALKS:
        return "too few walks"
    low, high = (found.mean if end is None else end for end in (found.low, found.high))
    if limit.holds(low, high):
        return "reached"
    return "reached by the mean alone" if limit.holds(found.mean, found.mean) else "not reached"
