"""What a release is made of and how it samples, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from worldloom.camera import Intrinsics, Kinematics
from worldloom.config import Config
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.model.config import TransformerConfig


class SamplerConfig(Config):
    """How noise becomes latents."""

    sigmas: tuple[float, ...] = Field(
        (1.0, 0.857, 0.6), description="noise levels at which the model is asked, as it sees them"
    )
    solver: Literal["euler", "renoise", "unipc"] = Field(
        "renoise",
        description="euler follows the flow; renoise draws fresh noise between levels; unipc is "
        "the multistep sampler of order 2 that Matrix-Game 3.0 uses",
    )
    truncates_timesteps: bool = Field(
        False, description="tell the model whole timesteps out of 1000, rounded down"
    )
    guidance_scale: float = Field(
        1.0,
        ge=0,
        description="uncond + scale (cond - uncond); 1 costs one forward a step, others two",
    )
    negative_prompt: str = Field(
        "", description="prompt of the unconditional branch, where guidance_scale is not 1"
    )

    @field_validator("sigmas")
    @classmethod
    def _fall(cls, sigmas: tuple[float, ...]) -> tuple[float, ...]:
        if (
            not sigmas
            or sigmas[0] > 1
            or sigmas[-1] <= 0
            or list(sigmas) != sorted(set(sigmas), reverse=True)
        ):
            message = f"sigmas {sigmas}: expected falling noise levels in (0, 1]"
            raise ValueError(message)
        return sigmas


class WorldEntry(Config):
    """A place where a session can begin."""

    name: str = Field(description="what a client asks for", pattern=r"^[A-Za-z0-9._-]+$")
    prompt: str = Field(description="a sentence on what is to be seen")
    pitch_radians: float = Field(0.0, description="how far the start view looks up, radians")


class ReleaseConfig(Config):
    """Everything one server needs to know; weights and start images lie beside it."""

    schema_version: Literal[1] = Field(1, description="version of the folder's layout")
    transformer: TransformerConfig = Field(description="shape of the student")
    sampler: SamplerConfig = Field(default_factory=SamplerConfig, description="few-step sampler")
    retrieval: RetrievalConfig = Field(
        default_factory=RetrievalConfig, description="memory retrieval"
    )
    bank: BankConfig = Field(
        default_factory=BankConfig, description="what of a session's past stays in memory"
    )
    kinematics: Kinematics = Field(default_factory=Kinematics, description="what an action moves")
    intrinsics: Intrinsics = Field(description="camera of the frames, pixels")
    height: int = Field(ge=8, description="frame height, pixels")
    width: int = Field(ge=8, description="frame width, pixels")
    worlds: tuple[WorldEntry, ...] = Field(min_length=1, description="places to begin at")

    @model_validator(mode="after")
    def _is_stream(self) -> ReleaseConfig:
        if self.transformer.layout != "stream":
            message = (
                f"layout {self.transformer.layout!r}: a release is served segment by segment, "
                "expected a stream model (reference models are teachers)"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _frames_fit(self) -> ReleaseConfig:
        if (self.height, self.width) != self.transformer.frame_size:
            rows, cols = self.transformer.frame_size
            message = (
                f"frames of {self.height}x{self.width} pixels beside a transformer for "
                f"{rows}x{cols}: expected the same"
            )
            raise ValueError(message)
        return self
