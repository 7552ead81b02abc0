"""Settings of the step `quantization`. It imports nothing that the step works with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worldloom.camera import Kinematics
from worldloom.config import Config
from worldloom.quantize.config import QuantizeLinearsConfig


class ParityRunConfig(Config):
    """The walks on which the compressed model is compared with the full one."""

    num_worlds: int = Field(4, ge=1, description="start images, the release's first worlds")
    num_segments: int = Field(2, ge=1, description="segments of a walk")
    seed: int = Field(0, ge=0, description="seed of both models' noise")


class QuantizeStepConfig(Config):
    """How the student is compressed and what the release is made of."""

    linears: QuantizeLinearsConfig = Field(
        QuantizeLinearsConfig(), description="which linear layers become 8-bit"
    )
    parity: ParityRunConfig = Field(ParityRunConfig(), description="the comparison's walks")
    kinematics: Kinematics = Field(Kinematics(), description="what an action moves")
    num_worlds: int = Field(6, ge=1, description="places in the release where a session can begin")
    worlds_split: Literal["train", "test"] = Field(
        "test", description="split of the clips whose first frames are these places"
    )
    num_threads: int = Field(2, ge=0, description="threads of torch's CPU kernels; 0: as they are")
