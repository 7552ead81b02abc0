"""The project's models by name. A preset is data: the shape of a transformer, nothing more."""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.errors import ConfigError
from worldloom.model.config import TransformerConfig

PRESETS: Mapping[str, TransformerConfig] = {
    # 64 x 64 pixels; learns to obey in an hour of two CPU cores; what the starter weights are.
    "nano-stream": TransformerConfig(),
}


def preset(name: str) -> TransformerConfig:
    """Return a preset's shape; raises `ConfigError` listing the known names."""
    if name not in PRESETS:
        message = f"preset {name!r}: not known, expected one of {', '.join(PRESETS)}"
        raise ConfigError(message)
    return PRESETS[name]
