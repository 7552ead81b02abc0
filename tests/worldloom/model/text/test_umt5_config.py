from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_text import TINY, public_config, transformers_shapes, wan_name

from worldloom.config import parse_config
from worldloom.errors import ConfigError
from worldloom.model.text.umt5_config import (
    UMT5_XXL,
    UMT5Config,
    distance_buckets,
    load_public_config,
    name_map_of,
)


def write_config(folder: Path, **changes: object) -> Path:
    values = public_config(TINY) | changes
    path = folder / "config.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return path


def test_settings_as_transformers_writes_them_are_read(tmp_path: Path) -> None:
    assert load_public_config(write_config(tmp_path)) == TINY


def test_the_public_size_is_the_published_one(tmp_path: Path) -> None:
    published = {
        "d_ff": 10240,
        "d_kv": 64,
        "d_model": 4096,
        "layer_norm_epsilon": 1e-06,
        "num_heads": 64,
        "num_layers": 24,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "vocab_size": 256384,
    }
    assert load_public_config(write_config(tmp_path, **published)) == UMT5_XXL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "model_type is 't5', expected 'umt5'"),
        ({"feed_forward_proj": "relu"}, "feed_forward_proj is 'relu', expected 'gated-gelu'"),
        ({"d_kv": None, "num_layers": None}, "lacks num_layers, d_kv, expected umT5's sizes"),
        ({"num_heads": 0}, "num_heads: Input should be greater than or equal to 1"),
        ({"relative_attention_max_distance": 8}, "max_distance 8 must exceed the 8 distances"),
    ],
)
def test_another_architecture_and_impossible_sizes_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write_config(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        load_public_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_settings_that_are_none_are_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json: (cannot be read|expected an object)"):
        load_public_config(path)


def test_an_unknown_setting_of_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        parse_config(UMT5Config, {"dropout": 0.1})


def test_umt5s_buckets_begin_at_powers_of_the_square_root_of_two() -> None:
    # 8 distances with a bucket each; then 8 sqrt(2)^k, since (128 / 8)^(1/8) is the root of two.
    begins = [*range(8), *(math.ceil(8 * math.sqrt(2) ** k - 1e-9) for k in range(8))]
    assert begins == [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    buckets = distance_buckets(32, 128)
    assert len(buckets) == 129
    assert [buckets.index(bucket) for bucket in range(16)] == begins
    assert list(buckets) == sorted(buckets)
    assert buckets[128] == 15


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(4, 2), (8, 20), (32, 128), (64, 1000)])
def test_buckets_follow_the_logarithm(num_buckets: int, max_distance: int) -> None:
    exact = steps = num_buckets // 4
    buckets = distance_buckets(num_buckets, max_distance)
    for distance, bucket in enumerate(buckets):
        if distance < exact:
            assert bucket == distance
            continue
        place = math.log(distance / exact) / math.log(max_distance / exact) * steps
        near_edge = abs(place - round(place)) < 1e-9
        step = round(place) if near_edge else math.floor(place)
        assert bucket == exact + min(step, steps - 1), distance


@pytest.mark.parametrize("layout", ["transformers", "wan"])
def test_every_public_name_of_the_public_size_has_one_place(layout: str) -> None:
    shapes = transformers_shapes(UMT5_XXL)
    names = set(shapes) if layout == "transformers" else set(map(wan_name, shapes))
    assert len(names) == 242
    rename = name_map_of(names)
    places = {rename(name).name for name in names}
    assert len(places) == 242
    ours = {name.split(".", 2)[-1] for name in places if name.startswith("blocks.")}
    assert ours == {
        "norm1.weight",
        "self_attn.q.weight",
        "self_attn.k.weight",
        "self_attn.v.weight",
        "self_attn.o.weight",
        "self_attn.position_bias.weight",
        "norm2.weight",
        "ffn.gate.weight",
        "ffn.up.weight",
        "ffn.down.weight",
    }
    assert {name for name in places if not name.startswith("blocks.")} == {
        "token_embedding.weight",
        "norm.weight",
    }


def test_the_embedding_may_have_either_name_or_both() -> None:
    shared, own = "shared.weight", "encoder.embed_tokens.weight"
    assert name_map_of({shared})(shared).name == "token_embedding.weight"
    assert name_map_of({own})(own).name == "token_embedding.weight"
    both = name_map_of({shared, own})
    assert both(shared).name == "token_embedding.weight"
    assert both(own) is None


def test_the_decoder_of_a_whole_umt5_is_not_needed() -> None:
    rename = name_map_of({"shared.weight"})
    assert rename("decoder.block.0.layer.1.EncDecAttention.q.weight") is None
    assert rename("lm_head.weight") is None


def test_reading_settings_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from worldloom.model.text.umt5_config import load_public_config\n"
        "load_public_config(Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(write_config(tmp_path))], check=True)
