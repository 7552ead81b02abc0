"""Which layers become 8-bit, apart from the code that needs torch."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from worldloom.config import Config

_ATTENTION = r"(^|\.)(self_attn|cross_attn)\.\w+$"
_EDGES = (
    r"(^|\.)(patch_embed|ray_embed|head|time_embed|time_projection)(\.|$)",
    r"(^|\.)(text_encoder|keyboard_embed|mouse_in)(\.|$)",
)


class QuantizeLinearsConfig(Config):
    """Which linear layers of a module become 8-bit (weights and activations)."""

    number_format: Literal["int8", "fp8"] = Field(
        "int8",
        description="int8: any device; fp8 (e4m3): faster on GPUs from Hopper on, slow elsewhere",
    )
    layers: Literal["attention", "all"] = Field(
        "all",
        description="attention: the projections of self and cross attention alone; all: every "
        "linear layer",
    )
    keep: tuple[str, ...] = Field(
        _EDGES,
        description="patterns (regular expressions, searched in dotted names) of layers that keep "
        "their precision: by default the embeddings and the output, which are small and sensitive",
    )

    @field_validator("keep")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                message = f"pattern {pattern!r} is no regular expression ({error})"
                raise ValueError(message) from error
        return patterns

    def selects(self, name: str) -> bool:
        """Tell whether the linear layer of this dotted name becomes 8-bit."""
        if self.layers == "attention" and not re.search(_ATTENTION, name):
            return False
        return not any(re.search(pattern, name) for pattern in self.keep)
