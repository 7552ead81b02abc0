from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_text import TINY, public_config, random_weights, transformers_shapes, wan_name

from worldloom.model.text.umt5 import RMSNorm, UMT5Encoder, relative_position_buckets
from worldloom.model.text.umt5_config import UMT5_XXL, name_map_of
from worldloom.model.weights.load_weights import load_weights


def load_encoder(path: Path, names: set[str], **options) -> UMT5Encoder:
    with torch.device("meta"):
        encoder = UMT5Encoder(TINY)
    load_weights(encoder, path, rename=name_map_of(names), **options)
    return encoder.eval()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return random_weights(TINY, seed=1)


@pytest.fixture
def encoder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> UMT5Encoder:
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    return load_encoder(path, set(weights))


@pytest.fixture(scope="module")
def other(weights: dict[str, torch.Tensor]) -> transformers.UMT5EncoderModel:
    """An umT5 that was written by others, with the same weights."""
    model = transformers.UMT5EncoderModel(transformers.UMT5Config(**public_config(TINY)))
    model.load_state_dict(
        weights | {"encoder.embed_tokens.weight": weights["shared.weight"]}, strict=True
    )
    return model.eval()


def tokens_and_mask(lengths: list[int], longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(2, TINY.vocabulary, (len(lengths), longest), generator=generator)
    return tokens, torch.arange(longest) < torch.tensor(lengths)[:, None]


@torch.no_grad()
def test_it_is_the_same_encoder_as_transformers(encoder, other) -> None:
    lengths = [300, 7, 1, 129]
    tokens, mask = tokens_and_mask(lengths, 300)
    ours = encoder(tokens, mask)
    theirs = other(tokens, attention_mask=mask.long()).last_hidden_state
    assert theirs.std() > 0.3
    for row, length in enumerate(lengths):
        error = (ours[row, :length] - theirs[row, :length]).abs().max()
        assert error <= 1e-5, (length, float(error))


@torch.no_grad()
@pytest.mark.parametrize("layout", ["transformers", "wan"])
def test_files_that_others_wrote_are_read(tmp_path: Path, other, weights, layout: str) -> None:
    if layout == "transformers":
        other.save_pretrained(tmp_path, max_shard_size="30KB")
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        names = set(index["weight_map"])
        assert len(set(index["weight_map"].values())) > 1
    else:
        theirs = {wan_name(name): tensor for name, tensor in weights.items()}
        save_file(theirs, tmp_path / "models_t5_umt5-xxl-enc.safetensors")
        names = set(theirs)
    encoder = load_encoder(tmp_path, names)
    tokens, mask = tokens_and_mask([40], 40)
    theirs = other(tokens, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(encoder(tokens, mask), theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_prompt_means_the_same_alone_and_padded(encoder) -> None:
    tokens, mask = tokens_and_mask([9, 64], 64)
    together = encoder(tokens, mask)
    alone = encoder(tokens[:1, :9], mask[:1, :9])
    assert (together[:1, :9] - alone).abs().max() <= 1e-5
    # What stands in the padding cannot be seen.
    tokens[0, 9:] = 5
    torch.testing.assert_close(encoder(tokens, mask)[0, :9], together[0, :9], atol=0, rtol=0)


@torch.no_grad()
def test_the_order_of_words_matters(encoder) -> None:
    tokens, mask = tokens_and_mask([12], 12)
    forwards = encoder(tokens, mask)
    backwards = encoder(tokens.flip(1), mask).flip(1)
    assert (forwards - backwards).abs().max() > 0.1


@torch.no_grad()
def test_a_row_of_padding_alone_stays_finite(encoder) -> None:
    tokens, mask = tokens_and_mask([3, 0], 4)
    assert encoder(tokens, mask).isfinite().all()


def relative_error(rounded: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the root mean square error as a share of the exact values' own."""
    assert rounded.dtype == torch.bfloat16
    return float((rounded.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@torch.no_grad()
def test_bfloat16_is_within_one_and_a_half_percent_of_float32() -> None:
    torch.manual_seed(0)
    encoder = UMT5Encoder(TINY).eval()
    tokens, mask = tokens_and_mask([80, 80], 80)
    exact = encoder(tokens, mask)
    assert 0 < relative_error(encoder.to(torch.bfloat16)(tokens, mask), exact) <= 0.015


@torch.no_grad()
def test_bfloat16_is_as_near_as_transformers_where_attention_is_sharp(encoder, other) -> None:
    tokens, mask = tokens_and_mask([80, 80], 80)
    exact = encoder(tokens, mask)
    ours = relative_error(encoder.to(torch.bfloat16)(tokens, mask), exact)
    rounded = copy.deepcopy(other).to(torch.bfloat16)
    theirs = relative_error(rounded(tokens, mask.long()).last_hidden_state, exact)
    assert ours <= 1.1 * theirs


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    encoder = UMT5Encoder(TINY)
    # Every bucket must occur, and every row of the embedding.
    tokens = torch.arange(2 * 140).reshape(2, 140) % TINY.vocabulary
    embeds = encoder(tokens, torch.ones_like(tokens, dtype=torch.bool))
    embeds.square().mean().backward()
    parameters = dict(encoder.named_parameters())
    assert len(parameters) == 2 + 10 * TINY.num_blocks
    for name, parameter in parameters.items():
        reached = parameter.grad.ne(0).any(dim=-1)
        if name.endswith("position_bias.weight"):
            reached[16] = True  # for j > i at distance 0: never occurs
        assert reached.all(), name


def test_the_public_size_has_the_public_shapes() -> None:
    with torch.device("meta"):
        encoder = UMT5Encoder(UMT5_XXL)
    shapes = transformers_shapes(UMT5_XXL)
    rename = name_map_of(set(shapes))
    expected = {rename(name).name: shape for name, shape in shapes.items()}
    assert {name: list(value.shape) for name, value in encoder.state_dict().items()} == expected
    # Embedding 256,384 x 4096; a block: 4 x 4096^2 + 3 x 4096 x 10,240 + 32 x 64 + 2 x 4096.
    block = 4 * 4096**2 + 3 * 4096 * 10_240 + 32 * 64 + 2 * 4096
    total = sum(parameter.numel() for parameter in encoder.parameters())
    assert total == 256_384 * 4096 + 24 * block + 4096 == 5_680_910_336


def test_buckets_are_mirrored_with_their_own_half_for_what_follows() -> None:
    buckets = relative_position_buckets(UMT5_XXL, 200)
    assert buckets[5].tolist()[:13] == [5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23]
    assert buckets[0, [8, 11, 12, 16, 90, 91, 199]].tolist() == [24, 24, 25, 26, 30, 31, 31]
    upper = torch.ones(200, 200, dtype=torch.bool).triu(1)
    assert torch.equal(buckets[upper] - 16, buckets.T[upper])
    assert torch.equal(buckets[:-1, :-1], buckets[1:, 1:])


def test_buckets_are_transformers(other) -> None:
    place = torch.arange(600)
    offset = place[None, :] - place[:, None]
    attention = other.encoder.block[0].layer[0].SelfAttention
    theirs = attention._relative_position_bucket(offset)
    assert torch.equal(relative_position_buckets(TINY, 600), theirs)


def test_a_norm_has_unit_root_mean_square_and_keeps_the_mean() -> None:
    norm = RMSNorm(4, 1e-6)
    x = torch.tensor([[[3.0, 4.0, 3.0, 4.0]]])
    torch.testing.assert_close(norm(x), x / 12.5**0.5, atol=1e-6, rtol=0)


def test_a_norm_rounds_to_bfloat16_only_once() -> None:
    x = torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)
    wide = x.double()
    exact = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.equal(RMSNorm(64, 1e-6).to(torch.bfloat16)(x), exact.to(torch.bfloat16))
