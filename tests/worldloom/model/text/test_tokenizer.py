from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from tiny_text import SENTENCES, train_tokenizer

from worldloom.errors import ArtifactError
from worldloom.model.text.tokenizer import PromptTokenizer, clean_prompt, load_tokenizer

END = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def test_a_prompt_comes_back_from_its_tokens(folder: Path) -> None:
    [tokens] = load_tokenizer(folder).tokenize(["A stone hall with torches."])
    assert tokens[-1] == END
    assert tokens.count(END) == 1
    assert len(tokens) > 5
    pieces = [train_tokenizer().id_to_token(token) for token in tokens[:-1]]
    assert "".join(pieces) == "\u2581A\u2581stone\u2581hall\u2581with\u2581torches."


def test_prompts_of_a_batch_keep_their_own_lengths(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    prompts = [*SENTENCES, "", "Walk"]
    assert tokenizer.tokenize(prompts) == [tokenizer.tokenize([text])[0] for text in prompts]
    assert tokenizer.tokenize([""]) == [[END]]


def test_a_long_prompt_is_cut_so_that_the_end_token_stays(folder: Path) -> None:
    long = " ".join(SENTENCES * 20)
    [whole] = load_tokenizer(folder, max_tokens=10_000).tokenize([long])
    assert len(whole) > 600
    [cut] = load_tokenizer(folder).tokenize([long])
    assert cut == [*whole[:511], END]
    assert load_tokenizer(folder, max_tokens=1).tokenize([long]) == [[END]]


def test_it_cuts_and_ends_as_transformers_does(folder: Path) -> None:
    other = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="</s>", pad_token="<pad>"
    )
    tokenizer = load_tokenizer(folder, max_tokens=30)
    for prompt in [*SENTENCES, " ".join(SENTENCES), ""]:
        theirs = other(prompt, truncation=True, max_length=30).input_ids
        assert tokenizer.tokenize([prompt]) == [theirs]


def test_padding_and_cutting_that_a_file_asks_for_are_undone(folder: Path, tmp_path: Path) -> None:
    tokenizer = train_tokenizer()
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).tokenize(SENTENCES) == load_tokenizer(folder).tokenize(
        SENTENCES
    )


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("  a \t walk\n\n through\u00a0\u3000a hall ", "a walk through a hall"),
        ("fish &amp; chips", "fish & chips"),
        ("&amp;lt;b&amp;gt;", "<b>"),
        ("a&nbsp;&nbsp;b", "a b"),
        ("\n", ""),
        ("Keep CASE, and marks!", "Keep CASE, and marks!"),
    ],
)
def test_whitespace_is_cleaned(folder: Path, prompt: str, cleaned: str) -> None:
    assert clean_prompt(prompt) == cleaned
    tokenizer = load_tokenizer(folder)
    assert tokenizer.tokenize([prompt]) == tokenizer.tokenize([cleaned])


def test_the_vocabulary_counts_special_tokens(folder: Path) -> None:
    assert load_tokenizer(folder).vocabulary == train_tokenizer().get_vocab_size()


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_tokenizer(folder)
    message = str(caught.value)
    assert str(folder / "tokenizer.json") in message
    assert "expected the tokenizer's file of the public checkpoint (in google/umt5-xxl" in message
    assert "\n" not in message
    return message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no tokenizer here" in refusal(tmp_path)
    assert "no tokenizer here" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"model": {}}', b"version https://git-lfs", b"\xff\xfe"]
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    assert "cannot be read" in refusal(tmp_path)


def test_a_tokenizer_without_the_end_token_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(special=("<pad>", "<unk>"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert "has no token </s>" in refusal(tmp_path)
    with pytest.raises(ValueError, match="no token </s>"):
        PromptTokenizer(tokenizer)


def test_room_for_no_token_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="max_tokens 0: expected at least 1"):
        PromptTokenizer(train_tokenizer(), max_tokens=0)
