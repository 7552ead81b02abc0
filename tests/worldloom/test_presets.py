"""Presets are found by name, and an unknown one is refused with the known ones."""

from __future__ import annotations

import pytest

from worldloom.errors import ConfigError
from worldloom.model.config import TransformerConfig
from worldloom.presets import PRESETS, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_a_shape_that_stands(name: str) -> None:
    config = preset(name)
    assert config == TransformerConfig.model_validate(config.model_dump())
    assert config.dim % config.num_heads == 0


def test_the_starter_weights_preset_is_there() -> None:
    assert preset("nano-stream") == TransformerConfig()


def test_an_unknown_preset_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="preset 'nano': not known, expected one of nano-stream"):
        preset("nano")
