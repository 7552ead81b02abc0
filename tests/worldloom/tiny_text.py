"""A tiny umT5 as a folder of public files: a trained tokenizer, settings, weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from worldloom.model.text.umt5_config import UMT5Config

TINY = UMT5Config(vocabulary=96, dim=24, ffn_dim=40, num_blocks=3, num_heads=4, head_dim=8)
SENTENCES = [
    "A walk through a stone hall with torches on its walls.",
    "The same hall, seen from the other end, is dark and empty.",
    "Water drips from the ceiling; a door stands open to the left.",
    "Walk forward, turn left, and look at the torches again.",
]


@cache
def _trained(special: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if "</s>" in special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
        )
    # Pieces come out of training in any order; sorted, they have the same numbers every time.
    values = json.loads(tokenizer.to_str())
    pieces = values["model"]["vocab"]
    values["model"]["vocab"] = pieces[: len(special)] + sorted(pieces[len(special) :])
    return json.dumps(values)


def train_tokenizer(*, special: tuple[str, ...] = ("<pad>", "</s>", "<unk>")) -> Tokenizer:
    """Return a unigram tokenizer like umT5's that was trained on a few sentences."""
    return Tokenizer.from_str(_trained(special))


def public_config(config: UMT5Config) -> dict[str, object]:
    """Return a settings file's values as transformers writes them, with some that we do not use."""
    return {
        "model_type": "umt5",
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.1,
        "vocab_size": config.vocabulary,
        "d_model": config.dim,
        "d_ff": config.ffn_dim,
        "num_layers": config.num_blocks,
        "num_heads": config.num_heads,
        "d_kv": config.head_dim,
        "relative_attention_num_buckets": config.num_buckets,
        "relative_attention_max_distance": config.max_distance,
        "layer_norm_epsilon": config.norm_eps,
    }


def transformers_shapes(config: UMT5Config) -> dict[str, list[int]]:
    """Return every tensor's shape by transformers' names, written out by hand."""
    dim, inner, hidden = config.dim, config.num_heads * config.head_dim, config.ffn_dim
    shapes = {"shared.weight": [config.vocabulary, dim], "encoder.final_layer_norm.weight": [dim]}
    for block in range(config.num_blocks):
        attention = f"encoder.block.{block}.layer.0"
        feed_forward = f"encoder.block.{block}.layer.1"
        shapes |= {
            f"{attention}.SelfAttention.q.weight": [inner, dim],
            f"{attention}.SelfAttention.k.weight": [inner, dim],
            f"{attention}.SelfAttention.v.weight": [inner, dim],
            f"{attention}.SelfAttention.o.weight": [dim, inner],
            f"{attention}.SelfAttention.relative_attention_bias.weight": [
                config.num_buckets,
                config.num_heads,
            ],
            f"{attention}.layer_norm.weight": [dim],
            f"{feed_forward}.DenseReluDense.wi_0.weight": [hidden, dim],
            f"{feed_forward}.DenseReluDense.wi_1.weight": [hidden, dim],
            f"{feed_forward}.DenseReluDense.wo.weight": [dim, hidden],
            f"{feed_forward}.layer_norm.weight": [dim],
        }
    return shapes


def wan_name(name: str) -> str:
    """Return Wan's name of a tensor that transformers calls `name`."""
    parts = name.split(".")
    if parts[:2] != ["encoder", "block"]:
        return {
            "shared.weight": "token_embedding.weight",
            "encoder.final_layer_norm.weight": "norm.weight",
        }[name]
    inside = {
        "0.SelfAttention.q": "attn.q",
        "0.SelfAttention.k": "attn.k",
        "0.SelfAttention.v": "attn.v",
        "0.SelfAttention.o": "attn.o",
        "0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
        "0.layer_norm": "norm1",
        "1.DenseReluDense.wi_0": "ffn.gate.0",
        "1.DenseReluDense.wi_1": "ffn.fc1",
        "1.DenseReluDense.wo": "ffn.fc2",
        "1.layer_norm": "norm2",
    }
    return f"blocks.{parts[2]}.{inside['.'.join(parts[4:-1])]}.weight"


def random_weights(config: UMT5Config, seed: int) -> dict[str, torch.Tensor]:
    """Return weights by transformers' names, large enough that attention is far from even."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in transformers_shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        if "norm" in name:
            weights[name] = 1 + 0.1 * noise
        else:
            weights[name] = noise * (1 if "bias" in name or "shared" in name else 0.3)
    return weights


def save_public_folder(folder: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """Write tokenizer, settings and weights of `TINY`; return the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(public_config(TINY)))
    weights = random_weights(TINY, seed)
    save_file(weights, folder / "model.safetensors")
    return weights
