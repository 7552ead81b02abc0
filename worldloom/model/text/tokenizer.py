"""Prompts to the numbers of umT5's tokens, by the public tokenizer's own file.

Wan2.2 and Matrix-Game 3.0 undo HTML entities, make every run of whitespace one space, keep 512
tokens and end with </s>; so does this. They also let ftfy mend text that was decoded wrongly; here
a prompt is taken as it is written. It knows no model and needs no torch.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from worldloom.errors import ArtifactError
from worldloom.model.text.umt5_config import MAX_PROMPT_TOKENS

TOKENIZER_FILE = "tokenizer.json"
END_TOKEN = "</s>"
_ORIGIN = (
    "the tokenizer's file of the public checkpoint "
    "(in google/umt5-xxl of Wan2.2-TI2V-5B, in tokenizer of its Diffusers form)"
)


class PromptTokenizer:
    """A tokenizer that cleans, cuts and ends every prompt in the same way."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_PROMPT_TOKENS) -> None:
        """Take a tokenizer whose vocabulary has the end token.

        Raises:
            ValueError: when it has none, or when no prompt fits `max_tokens`.
        """
        end = tokenizer.token_to_id(END_TOKEN)
        if end is None:
            message = f"no token {END_TOKEN} in the vocabulary, expected umT5's"
            raise ValueError(message)
        if max_tokens < 1:
            message = f"max_tokens {max_tokens}: expected at least 1, for the end token"
            raise ValueError(message)
        # A file may say how it was padded and cut when it was saved.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._end = end
        self.max_tokens = max_tokens

    @property
    def vocabulary(self) -> int:
        """Number of tokens, the special ones among them."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return each prompt's token numbers, the end token last, at most `max_tokens`."""
        cleaned = [clean_prompt(prompt) for prompt in prompts]
        encodings = self._tokenizer.encode_batch(cleaned, add_special_tokens=False)
        return [[*encoding.ids[: self.max_tokens - 1], self._end] for encoding in encodings]


def clean_prompt(prompt: str) -> str:
    """Undo HTML entities (twice: `&amp;lt;` is `<`) and make each run of whitespace one space."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()


def load_tokenizer(folder: Path, *, max_tokens: int = MAX_PROMPT_TOKENS) -> PromptTokenizer:
    """Read `tokenizer.json` from a folder.

    Raises:
        ArtifactError: when the file is missing, broken or another model's.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        message = f"{path}: no tokenizer here, expected {_ORIGIN}"
        raise ArtifactError(message)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        message = f"{path}: cannot be read ({error}), expected {_ORIGIN}"
        raise ArtifactError(message) from error
    if tokenizer.token_to_id(END_TOKEN) is None:
        message = f"{path}: has no token {END_TOKEN}, expected {_ORIGIN}"
        raise ArtifactError(message)
    return PromptTokenizer(tokenizer, max_tokens)
