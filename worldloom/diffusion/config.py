"""Settings of self-correction, apart from the code that needs torch."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config


class ErrorBufferConfig(Config):
    """Size of the buffer and how its residuals are injected."""

    num_buckets: int = Field(10, ge=1, description="noise-level buckets in [0, 1]")
    bucket_size: int = Field(64, ge=1, description="residuals kept in a bucket")
    probability: float = Field(0.5, ge=0, le=1, description="chance that a sample is disturbed")
    max_strength: float = Field(1.0, ge=0, description="scale of a residual, drawn from 0 to this")
    warmup_steps: int = Field(50, ge=0, description="steps before the first injection")
