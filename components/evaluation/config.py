"""Settings of the step `evaluation`. It imports nothing that the step works with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config
from worldloom.evaluate.config import SuiteConfig
from worldloom.evaluate.gates import GateConfig


class EvaluateStepConfig(Config):
    """How a release is judged."""

    suite: SuiteConfig = Field(SuiteConfig(), description="what it is put through")
    gate: GateConfig = Field(GateConfig(), description="the bars it has to clear")
    num_threads: int = Field(2, ge=0, description="threads of torch's CPU kernels; 0: as they are")
