"""A small learned prompt encoder: words hash into buckets, buckets have embeddings.

It knows no language; it lets a small model tell prompts apart. Hashing is by CRC-32, so a prompt
maps to the same tokens on every machine.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_PADDING = 0


def tokenize(prompts: Sequence[str], vocabulary: int, length: int) -> Int[Tensor, "B W"]:
    """Return bucket numbers [B, length]; 0 is padding, words beyond `length` are dropped."""
    tokens = torch.full((len(prompts), length), _PADDING, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        words = re.findall(r"[a-z0-9]+", prompt.lower())[:length]
        for column, word in enumerate(words):
            tokens[row, column] = 1 + zlib.crc32(word.encode()) % (vocabulary - 1)
    return tokens


class TextEncoder(nn.Module):
    """Embed hashed words with their positions."""

    def __init__(self, vocabulary: int, length: int, dim: int) -> None:
        """Build the embedding tables."""
        super().__init__()
        self.vocabulary = vocabulary
        self.length = length
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.zeros(length, dim))
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, tokens: Int[Tensor, "B W"]) -> Float[Tensor, "B W E"]:
        """Return the embeddings of tokens and their positions."""
        embedded: Tensor = self.words(tokens) + self.positions
        return embedded
