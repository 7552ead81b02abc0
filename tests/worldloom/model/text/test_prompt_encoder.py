from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_text import (
    SENTENCES,
    TINY,
    public_config,
    save_public_folder,
    train_tokenizer,
    wan_name,
)

from worldloom.errors import ArtifactError
from worldloom.model.text.prompt_encoder import PromptEncoder, load_prompt_encoder
from worldloom.model.text.umt5 import UMT5Encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("umt5")
    save_public_folder(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> PromptEncoder:
    return load_prompt_encoder(folder, dtype=torch.float32)


def test_embeddings_are_zero_from_the_true_length_to_512(encoder) -> None:
    embeds, lengths = encoder.encode([SENTENCES[0], "", SENTENCES[1]])
    assert embeds.shape == (3, 512, TINY.dim)
    assert lengths.tolist() == [
        len(row) for row in encoder.tokenizer.tokenize([SENTENCES[0], "", SENTENCES[1]])
    ]
    assert lengths[1] == 1
    for row, length in enumerate(lengths):
        assert embeds[row, :length].abs().sum(-1).min() > 0
        assert not embeds[row, length:].any()


def test_encoding_keeps_no_graph_even_of_an_encoder_in_training(encoder) -> None:
    trained = PromptEncoder(encoder.tokenizer, UMT5Encoder(TINY))
    embeds, _ = trained.encode(SENTENCES[:1])
    assert not embeds.requires_grad


def test_a_prompt_means_the_same_in_any_company(encoder) -> None:
    together, _ = encoder.encode(SENTENCES)
    for row, prompt in enumerate(SENTENCES):
        alone, _ = encoder.encode([prompt])
        assert (alone[0] - together[row]).abs().max() <= 1e-5


@pytest.mark.slow
def test_it_gives_what_wans_steps_give_with_transformers(encoder, folder: Path) -> None:
    """Pad to 512, encode all 512, cut to the true length: Wan2.2's way, with others' code."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="</s>", pad_token="<pad>"
    )
    model = transformers.UMT5EncoderModel(transformers.UMT5Config(**public_config(TINY)))
    weights = save_public_folder(folder / "again")
    model.load_state_dict(weights | {"encoder.embed_tokens.weight": weights["shared.weight"]})
    batch = tokenizer(
        SENTENCES,
        padding="max_length",
        truncation=True,
        max_length=512,
        return_tensors="pt",
    )
    with torch.no_grad():
        theirs = model.eval()(batch.input_ids, batch.attention_mask).last_hidden_state
    ours, lengths = encoder.encode([f"  {prompt}\n" for prompt in SENTENCES])
    assert lengths.tolist() == batch.attention_mask.sum(1).tolist()
    for row, length in enumerate(lengths):
        assert (ours[row, :length] - theirs[row, :length]).abs().max() <= 1e-5


def test_wans_names_and_a_tokenizer_elsewhere_give_the_same(encoder, folder, tmp_path) -> None:
    weights = save_public_folder(tmp_path / "whole")
    encoder_folder, tokenizer_folder = tmp_path / "text_encoder", tmp_path / "tokenizer"
    encoder_folder.mkdir()
    tokenizer_folder.mkdir()
    (tmp_path / "whole" / "tokenizer.json").rename(tokenizer_folder / "tokenizer.json")
    (tmp_path / "whole" / "config.json").rename(encoder_folder / "config.json")
    save_file(
        {wan_name(name): tensor for name, tensor in weights.items()},
        encoder_folder / "models_t5_umt5-xxl-enc-bf16.safetensors",
    )
    other = load_prompt_encoder(
        encoder_folder, tokenizer_folder=tokenizer_folder, dtype=torch.float32
    )
    assert torch.equal(other.encode(SENTENCES)[0], encoder.encode(SENTENCES)[0])


def test_the_default_type_is_the_public_weights(encoder, folder: Path) -> None:
    half = load_prompt_encoder(folder)
    embeds, lengths = half.encode(SENTENCES[:1])
    assert embeds.dtype == torch.bfloat16
    exact, _ = encoder.encode(SENTENCES[:1])
    error = (embeds.float() - exact)[:, : lengths[0]].square().mean().sqrt()
    assert error <= 0.15 * exact[:, : lengths[0]].square().mean().sqrt()
    assert not any(parameter.requires_grad for parameter in half.encoder.parameters())
    assert not half.encoder.training


def test_float16_is_a_callers_mistake(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype torch\.float16: expected one of torch\.bfloat16"):
        load_prompt_encoder(folder, dtype=torch.float16)


@pytest.mark.parametrize("prompts", [[], "one text"])
def test_what_is_no_list_of_prompts_is_a_callers_mistake(encoder, prompts) -> None:
    with pytest.raises(ValueError, match="expected a sequence of at least one text"):
        encoder.encode(prompts)


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_prompt_encoder(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    for name in ("tokenizer.json", "config.json", "*.safetensors"):
        assert str(tmp_path / name) in message
    save_public_folder(tmp_path)
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        message = refusal(tmp_path)
        assert name.removeprefix("model") in message.partition(" missing;")[0]
        assert message.count(str(tmp_path)) == 2
        (tmp_path / name).write_bytes(kept)
    load_prompt_encoder(tmp_path)


def test_pickles_do_not_count_as_weights(tmp_path: Path) -> None:
    save_public_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "models_t5_umt5-xxl-enc-bf16.pth")
    assert "(pickles are not read) missing" in refusal(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_public_folder(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps(public_config(TINY.model_copy(update={"ffn_dim": 48, "num_blocks": 2})))
    )
    message = refusal(tmp_path)
    assert "10 extra: encoder.block.2.layer.0.SelfAttention.k.weight" in message
    assert "6 misshaped: encoder.block.0.layer.1.DenseReluDense.wi_0.weight is [40, 24]" in message


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tmp_path: Path) -> None:
    save_public_folder(tmp_path)
    small = TINY.model_copy(update={"vocabulary": 8})
    (tmp_path / "config.json").write_text(json.dumps(public_config(small)))
    tokens = train_tokenizer().get_vocab_size()
    assert f"has {tokens} tokens, expected at most the 8 of" in refusal(tmp_path)
