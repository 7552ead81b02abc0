"""How a model is run fast, apart from the code that needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
    cached_segments: int = Field(
        4,
        ge=1,
        description="segments whose keys and values a session keeps for when they become memory; "
        "others are computed again",
    )
