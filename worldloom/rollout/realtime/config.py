"""How a model is run fast, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from worldloom.config import Config


class RealtimeConfig(Config):
    """What is done to a world model's networks before sessions run on them."""

    linears: Literal["auto", "full", "int8", "fp8"] = Field(
        "auto",
        description="number format of the large linear layers; auto: fp8 where a GPU multiplies "
        "it, int8 on other GPUs, and full precision on a CPU; layers that are 8-bit stay as they "
        "are",
    )
    attention: Literal["auto", "full", "fp8"] = Field(
        "auto",
        description="number format of attention over tokens; auto: the faster one, measured at the "
        "model's own shape",
    )
    captures_graphs: bool = Field(
        True, description="replay passes from CUDA graphs (on a GPU) instead of launching kernels"
    )
    compiles_decoder: bool = Field(
        True, description="compile the Wan2.2 decoder's steady chunk (on a GPU)"
    )
    decodes_beside: bool = Field(
        True, description="decode on a stream of its own, beside the next segment (on a GPU)"
    )
    decoder_device: str | None = Field(
        None, description="where frames are decoded, such as cuda:1; None is where the rest is"
    )
    retrieves_on_gpu: bool = Field(
        True, description="choose memory in a kernel beside what the GPU is doing (on a GPU)"
    )
    cached_latents: int = Field(
        12,
        ge=1,
        description="latents whose keys and values a session keeps for when they become memory; "
        "others are computed again; as many as the bank holds, and none is",
    )
    commits_last_step: bool = Field(
        False,
        description="option: take a segment's keys and values from the last denoising step, at "
        "its noise level, instead of from a pass of their own over clean latents; a student must "
        "be trained for it, and a resumed session goes on from clean ones",
    )
    reused_blocks: tuple[int, int] | None = Field(
        None,
        description="option: blocks (first, one past the last) that a segment's first step runs "
        "and later ones repeat the say of; a student must be trained for it",
    )

    @model_validator(mode="after")
    def _options_fit(self) -> RealtimeConfig:
        if self.reused_blocks is None:
            return self
        first, end = self.reused_blocks
        if not 0 <= first < end:
            message = f"reused_blocks {self.reused_blocks}: expected a first block and a later end"
            raise ValueError(message)
        if self.commits_last_step:
            message = (
                f"reused_blocks {self.reused_blocks} beside commits_last_step: the last step "
                "computes no keys of blocks that it repeats, expected one of the two"
            )
            raise ValueError(message)
        return self
