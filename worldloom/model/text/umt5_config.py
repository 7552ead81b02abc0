"""What is public about umT5's encoder, as data: its shape, its settings file, its tensors' names.

umT5 (Chung et al. 2023, "UniMax") is mT5 with a relative position bias of its own in every layer.
It needs no torch, and does not know how the encoder computes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path

from pydantic import Field, model_validator

from worldloom.config import Config, parse_config
from worldloom.errors import ConfigError
from worldloom.model.weights.weight_names import NameMap, NameRule

MAX_PROMPT_TOKENS = 512
"""What Wan2.2 and Matrix-Game 3.0 keep of a prompt, its end token included."""


class UMT5Config(Config):
    """Sizes of an encoder; the defaults are umT5-XXL's."""

    vocabulary: int = Field(256_384, ge=2, description="rows of the token embedding")
    dim: int = Field(4096, ge=1, description="width of the residual stream")
    ffn_dim: int = Field(10_240, ge=1, description="hidden width of the feed-forward layers")
    num_blocks: int = Field(24, ge=1, description="transformer blocks")
    num_heads: int = Field(64, ge=1, description="attention heads")
    head_dim: int = Field(64, ge=1, description="channels of one attention head")
    num_buckets: int = Field(
        32, ge=4, multiple_of=4, description="relative positions that the bias tells apart"
    )
    max_distance: int = Field(
        128, ge=2, description="tokens; positions farther apart share the last bucket"
    )
    norm_eps: float = Field(1e-6, gt=0, description="added to the mean square in RMS norms")

    @model_validator(mode="after")
    def _distance_fits(self) -> UMT5Config:
        if self.max_distance <= self.num_buckets // 4:
            message = (
                f"max_distance {self.max_distance} must exceed the {self.num_buckets // 4} "
                "distances that have a bucket each"
            )
            raise ValueError(message)
        return self

    @property
    def attention_dim(self) -> int:
        """Channels of all heads together."""
        return self.num_heads * self.head_dim


UMT5_XXL = UMT5Config()
"""The public google/umt5-xxl, whose encoder Wan2.2 and Matrix-Game 3.0 read prompts with."""

_SETTINGS = {
    "vocab_size": "vocabulary",
    "d_model": "dim",
    "d_ff": "ffn_dim",
    "num_layers": "num_blocks",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "relative_attention_num_buckets": "num_buckets",
    "relative_attention_max_distance": "max_distance",
    "layer_norm_epsilon": "norm_eps",
}
# What decides the computation and is built in here: gated GELU (tanh), a bias in each layer.
_BUILT_IN = {"model_type": "umt5", "feed_forward_proj": "gated-gelu"}


def load_public_config(path: Path) -> UMT5Config:
    """Return the shape that a public `config.json` describes; what only training needs is left.

    Raises:
        ConfigError: for a file that cannot be read, for another architecture, and for a size that
            is missing or impossible.
    """
    where = str(path)
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{where}: cannot be read ({error}), expected umT5's settings as JSON"
        raise ConfigError(message) from error
    if not isinstance(values, dict):
        message = f"{where}: expected an object of settings, got {values!r}"
        raise ConfigError(message)
    for key, expected in _BUILT_IN.items():
        if values.get(key) != expected:
            message = f"{where}: {key} is {values.get(key)!r}, expected {expected!r}"
            raise ConfigError(message)
    absent = [key for key in _SETTINGS if key not in values]
    if absent:
        message = f"{where}: lacks {', '.join(absent)}, expected umT5's sizes"
        raise ConfigError(message)
    return parse_config(
        UMT5Config, {name: values[key] for key, name in _SETTINGS.items()}, where=where
    )


@cache
def distance_buckets(num_buckets: int, max_distance: int) -> tuple[int, ...]:
    """Return the bucket of each distance 0..max_distance, regardless of direction.

    Half of a direction's buckets are for single distances, half are spaced evenly in the logarithm
    up to `max_distance` (Raffel et al. 2020, section 2.1). In whole numbers, so that the distances
    at which a bucket begins hang on no machine's logarithm.
    """
    exact = num_buckets // 4
    steps = num_buckets // 2 - exact
    buckets = list(range(exact))
    for distance in range(exact, max_distance + 1):
        # (distance / exact)^steps >= (max_distance / exact)^step, without fractions.
        reached = [
            distance**steps * exact**step >= max_distance**step * exact**steps
            for step in range(1, steps)
        ]
        buckets.append(exact + sum(reached))
    return tuple(buckets)


_BLOCK, _OURS = "encoder.block.#.layer", "blocks.#"
_TRANSFORMERS = (
    NameRule(f"{_BLOCK}.0.layer_norm.weight", f"{_OURS}.norm1.weight"),
    NameRule(
        f"{_BLOCK}.0.SelfAttention.relative_attention_bias.weight",
        f"{_OURS}.self_attn.position_bias.weight",
    ),
    NameRule(f"{_BLOCK}.0.SelfAttention.*", f"{_OURS}.self_attn.*"),
    NameRule(f"{_BLOCK}.1.layer_norm.weight", f"{_OURS}.norm2.weight"),
    NameRule(f"{_BLOCK}.1.DenseReluDense.wi_0.weight", f"{_OURS}.ffn.gate.weight"),
    NameRule(f"{_BLOCK}.1.DenseReluDense.wi_1.weight", f"{_OURS}.ffn.up.weight"),
    NameRule(f"{_BLOCK}.1.DenseReluDense.wo.weight", f"{_OURS}.ffn.down.weight"),
    NameRule("encoder.final_layer_norm.weight", "norm.weight"),
    # The other half of a whole umT5.
    NameRule("decoder.*", None),
    NameRule("lm_head.weight", None),
)
_SHARED, _OWN = "shared.weight", "encoder.embed_tokens.weight"
# One matrix under two names; files have one of them or both.
TRANSFORMERS_NAMES = NameMap(
    NameRule(_SHARED, "token_embedding.weight"), NameRule(_OWN, None), *_TRANSFORMERS
)
TRANSFORMERS_NAMES_UNSHARED = NameMap(NameRule(_OWN, "token_embedding.weight"), *_TRANSFORMERS)

WAN_NAMES = NameMap(
    NameRule("blocks.#.pos_embedding.embedding.weight", "blocks.#.self_attn.position_bias.weight"),
    NameRule("blocks.#.attn.*", "blocks.#.self_attn.*"),
    NameRule("blocks.#.ffn.gate.0.weight", "blocks.#.ffn.gate.weight"),
    NameRule("blocks.#.ffn.fc1.weight", "blocks.#.ffn.up.weight"),
    NameRule("blocks.#.ffn.fc2.weight", "blocks.#.ffn.down.weight"),
)
"""Of models_t5_umt5-xxl-enc-bf16.pth, converted to safetensors; the other names are ours too."""


def name_map_of(names: Collection[str]) -> NameMap:
    """Return the map for a checkpoint with these names: Wan's, or transformers' and Diffusers'."""
    if "token_embedding.weight" in names:
        return WAN_NAMES
    return TRANSFORMERS_NAMES if _SHARED in names else TRANSFORMERS_NAMES_UNSHARED
