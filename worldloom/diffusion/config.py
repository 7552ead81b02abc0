"""Settings of self-correction, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worldloom.config import Config


class ErrorBufferConfig(Config):
    """Size of the buffer and how its residuals are injected.

    Neither paper nor code tells the reference's ranges; the defaults are for small worlds, and
    the large preset asks for 50 buckets of 64 in float16 after a warm-up of 1 % of the run.
    """

    num_buckets: int = Field(10, ge=1, description="noise-level buckets in [0, 1]")
    bucket_size: int = Field(64, ge=1, description="residuals kept in a bucket")
    storage_dtype: Literal["float16", "float32"] = Field(
        "float32", description="number format in which residuals are kept"
    )
    probability: float = Field(
        0.5, ge=0, le=1, description="chance that the past latents of a sample are disturbed"
    )
    max_strength: float = Field(
        1.0, ge=0, description="scale gamma_h of a residual on past latents, drawn from 0 to this"
    )
    memory_probability: float = Field(
        0.5, ge=0, le=1, description="chance that the memory latents of a sample are disturbed"
    )
    memory_max_strength: float = Field(
        1.0, ge=0, description="scale gamma_m of a residual on memory latents, drawn from 0 to this"
    )
    min_strength: float = Field(
        0.0, ge=0, description="least scale of a residual, of past and memory alike"
    )
    clean_probability: float = Field(
        0.0, ge=0, le=1, description="chance that nothing of a sample is disturbed at all"
    )
    clean_push_probability: float = Field(
        1.0, ge=0, le=1, description="chance that the residual of an undisturbed sample is kept"
    )
    warmup_steps: int = Field(50, ge=0, description="steps before the first injection")
    warmup_fraction: float = Field(
        0.0, ge=0, le=1, description="share of a run before the first injection; the later counts"
    )
