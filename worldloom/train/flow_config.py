"""What flow matching trains on, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worldloom.config import Config
from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.rollout.config import SamplerConfig

Compilation = Literal["none", "blocks", "default", "recorded", "recorded_blocks"]


class SelfCorrectionConfig(Config):
    """Where the residuals come from that are added to what a segment conditions on.

    Chances, strengths and warm-up are the error buffer's, whatever the source, so runs of several
    sources differ in this one setting.
    """

    source: Literal["none", "buffer", "resampled", "rollout"] = Field(
        "buffer",
        description="none: clean context; buffer: residuals drawn from the error buffer, "
        "whatever latent they were found at (Matrix-Game 3.0); resampled: each latent's own "
        "residual, found by a forward beforehand; rollout: own rollouts of whole clips, seen "
        "through the keys and values that the model commits of them",
    )
    min_sigma: float = Field(
        0.3, ge=0, le=1, description="resampled: lowest noise level of the estimate, unshifted"
    )
    max_sigma: float = Field(
        1.0, ge=0, le=1, description="resampled: highest noise level of the estimate, unshifted"
    )
    rollout_clips: int = Field(
        4, ge=1, description="rollout: clips of a batch whose history the model made itself"
    )
    rollout_every_steps: int = Field(
        8, ge=1, description="rollout: steps for which the same rollouts are history"
    )
    rollout_seed: int = Field(0, ge=0, description="rollout: seed of which clips, and their noise")
    rollout_sampler: SamplerConfig = Field(
        default_factory=lambda: SamplerConfig(sigmas=(1.0, 0.857, 0.6, 0.3), solver="euler"),
        description="rollout: noise levels and solver",
    )


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
    compilation: Compilation = Field(
        "none",
        description="blocks: each block's passes as fused kernels, compiled soonest; default: the "
        "whole as fused kernels, which pays from about a thousand steps on; recorded: as it is, "
        "recorded and replayed as CUDA graphs, for networks bound by kernel launches; "
        "recorded_blocks: both",
    )
    checkpoint_activations: bool = Field(
        False, description="compute a block's activations again in the backward to save memory"
    )
    draws_noise_on_device: bool = Field(
        False,
        description="draw noise where the network is: faster on a GPU, other numbers than a CPU's",
    )
    error_buffer: ErrorBufferConfig = Field(
        default_factory=lambda: ErrorBufferConfig(),
        description="self-correction: chances, strengths, warm-up and reservoirs of residuals",
    )
    self_correction: SelfCorrectionConfig = Field(
        default_factory=lambda: SelfCorrectionConfig(),
        description="self-correction: where the residuals come from",
    )
    evaluates_corrupted: bool = Field(
        False,
        description="judge held-out clips also behind a context that the model itself estimated",
    )
    retrieval: RetrievalConfig = Field(
        default_factory=lambda: RetrievalConfig(), description="memory retrieval"
    )
