"""An experiment as data: a question, its arms, what is compared, on which walks.

An arm is a model and what is changed about it. Weights have three roles: the few-step student, the
base model that it was taught by, and an arm's own, for claims that rest on a training of their own.
It knows nothing of how an arm is built or measured.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config
from worldloom.evaluate.protocol import PathKind
from worldloom.experiments.claims import Claim
from worldloom.experiments.memory_plan import MemoryChoice
from worldloom.experiments.probes import Probe

Weights = Literal["student", "base", "own"]
Quantization = Literal["none", "int8-attention", "int8-all", "fp8-all"]


class Arm(Config):
    """One variant of the model."""

    name: str = Field(description="short name, in tables and files", pattern=r"^[a-z0-9-]+$")
    title: str = Field(description="what it is, in a few words")
    weights: Weights = Field("student", description="whose weights; own must be given by folder")
    is_naive: bool = Field(
        False, description="walk the base's flow at the student's few noise levels, by Euler steps"
    )
    memory: MemoryChoice = Field("ours", description="which past latents it sees")
    quantization: Quantization = Field("none", description="which linear layers are 8-bit")
    decoder_removed: float = Field(
        0.0, ge=0, lt=1, description="share of the decoder's channels that is cut out"
    )
    decoder_steps: int = Field(
        0, ge=0, description="steps in which the cut decoder is taught by the full one"
    )

    @model_validator(mode="after")
    def _fits(self) -> Arm:
        if self.is_naive and self.weights != "base":
            message = f"arm {self.name}: naive sampling is of the base, not of {self.weights!r}"
            raise ValueError(message)
        if self.decoder_steps and not self.decoder_removed:
            message = f"arm {self.name}: decoder_steps={self.decoder_steps} without a cut decoder"
            raise ValueError(message)
        return self


class WalkPlan(Config):
    """Walks of one kind."""

    path: PathKind = Field(description="kind of way")
    num_segments: int = Field(ge=1, description="segments of a walk")
    given_segments: int = Field(
        0, ge=0, description="first segments that are recorded, not made: the past to remember"
    )
    num_cases: int = Field(ge=1, description="walks, where no other number is asked for")
    locates: bool = Field(
        True, description="whether cameras are found by render and compare where a world tells"
    )
    probes: tuple[Probe, ...] = Field((), description="what else is tried on the recordings")
    arms: tuple[str, ...] | None = Field(
        None, min_length=1, description="arms that walk it, the control among them; None: all"
    )

    @model_validator(mode="after")
    def _makes_something(self) -> WalkPlan:
        if self.given_segments >= self.num_segments:
            message = (
                f"walk {self.path}: given_segments={self.given_segments} of "
                f"{self.num_segments}, expected fewer"
            )
            raise ValueError(message)
        return self


class Experiment(Config):
    """A question and how it is put to the test."""

    name: str = Field(description="what it is asked for by", pattern=r"^[a-z0-9-]+$")
    question: str = Field(description="what it finds out, in a sentence")
    control: str = Field(description="the arm that others are compared with")
    arms: tuple[Arm, ...] = Field(min_length=2, description="variants, in the table's order")
    walks: tuple[WalkPlan, ...] = Field(min_length=1, description="what is walked")
    figures: tuple[str, ...] = Field(
        min_length=1, description="figures of the short table, in its order; all are kept"
    )
    claims: tuple[Claim, ...] = Field((), description="what must show, in the order it is told")
    notes: tuple[str, ...] = Field((), description="what must be read beside the tables")

    @model_validator(mode="after")
    def _names_fit(self) -> Experiment:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            message = f"experiment {self.name}: arms {names}, expected different names"
            raise ValueError(message)
        if self.control not in names:
            message = f"experiment {self.name}: control {self.control!r}, expected one of {names}"
            raise ValueError(message)
        for walk in self.walks:
            strangers = sorted(set(walk.arms or ()) - set(names))
            if strangers or (walk.arms and self.control not in walk.arms):
                message = (
                    f"experiment {self.name}, walk {walk.path}: arms {list(walk.arms or ())}, "
                    f"expected some of {names}, {self.control!r} among them"
                )
                raise ValueError(message)
        for claim in self.claims:
            strangers = sorted({claim.arm, claim.against or claim.arm} - set(names))
            if strangers or claim.path not in {walk.path for walk in self.walks}:
                message = (
                    f"experiment {self.name}, claim {claim.says!r}: arms {strangers} on "
                    f"{claim.path}, expected arms and walks of the experiment"
                )
                raise ValueError(message)
        return self

    def arm(self, name: str) -> Arm:
        """Return the arm of a name; raises `ValueError` listing the known ones."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        message = f"arm {name!r}: expected one of {', '.join(arm.name for arm in self.arms)}"
        raise ValueError(message)
