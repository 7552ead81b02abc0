"""What flow matching trains on, apart from the code that needs torch."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config
from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.memory.retrieval import RetrievalConfig


class FlowObjectiveConfig(Config):
    """What a batch is made of and what is hidden from the model."""

    batch_clips: int = Field(16, ge=1, description="clips of a step; all their segments count")
    timestep_shift: float = Field(3.0, gt=0, description="shift of noise levels towards noise")
    no_memory_probability: float = Field(0.15, ge=0, le=1, description="segments without memory")
    random_memory_probability: float = Field(
        0.1, ge=0, le=1, description="segments whose memory is drawn at random"
    )
    no_past_probability: float = Field(
        0.1, ge=0, le=1, description="segments that see only the latest latent of their past"
    )
    compile_model: bool = Field(
        False, description="compile the two passes; pays from about a thousand steps on"
    )
    error_buffer: ErrorBufferConfig = Field(
        default_factory=lambda: ErrorBufferConfig(), description="self-correction"
    )
    retrieval: RetrievalConfig = Field(
        default_factory=lambda: RetrievalConfig(), description="memory retrieval"
    )
