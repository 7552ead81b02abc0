"""Prompts to what a transformer with umT5 text reads, from a folder of public files.

    tokenizer.json               the tokenizer
    config.json                  the encoder's sizes
    *.safetensors [.index.json]  its weights, by transformers' names or by Wan's

As in Wan2.2, each prompt's embeddings are cut to its true length and followed by zeros up to 512.
The small presets learn their own words (`text_encoder`) and need none of this. It does not know
the transformer.

Letters: B batch, L tokens, E width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from worldloom.errors import ArtifactError
from worldloom.model.text.tokenizer import TOKENIZER_FILE, PromptTokenizer, load_tokenizer
from worldloom.model.text.umt5 import UMT5Encoder
from worldloom.model.text.umt5_config import load_public_config, name_map_of
from worldloom.model.weights.load_weights import describe_checkpoint, load_weights
from worldloom.model.weights.weight_files import has_weights

CONFIG_FILE = "config.json"
_DTYPES = (torch.bfloat16, torch.float32)
_PADDING = 0

PromptEmbeds = Float[Tensor, "B L E"]
Lengths = Int[Tensor, "B"]


class PromptEncoder:
    """A tokenizer, and an encoder with an embedding for each of its tokens."""

    def __init__(self, tokenizer: PromptTokenizer, encoder: UMT5Encoder) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[PromptEmbeds, Lengths]:
        """Return embeddings `[B, max_tokens, E]`, zero after each prompt's length, and the lengths.

        Raises:
            ValueError: for no prompt at all, or a text where a sequence of texts is expected.
        """
        if isinstance(prompts, str) or not prompts:
            message = f"prompts {prompts!r}: expected a sequence of at least one text"
            raise ValueError(message)
        rows = self.tokenizer.tokenize(prompts)
        device = self.encoder.token_embedding.weight.device
        lengths = torch.tensor([len(row) for row in rows], device=device)
        # To the longest prompt only: what comes after it is zero in the end and cannot be seen.
        longest = max(map(len, rows))
        padded = [row + [_PADDING] * (longest - len(row)) for row in rows]
        mask = torch.arange(longest, device=device) < lengths[:, None]
        embeds = self.encoder(torch.tensor(padded, device=device), mask)
        embeds = embeds.masked_fill(~mask[..., None], 0)
        return F.pad(embeds, (0, 0, 0, self.tokenizer.max_tokens - longest)), lengths


def load_prompt_encoder(
    folder: Path,
    *,
    tokenizer_folder: Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> PromptEncoder:
    """Read a prompt encoder, in evaluation mode and without gradients.

    Args:
        folder: with the files above; pickles are not read.
        tokenizer_folder: where `tokenizer.json` is, if elsewhere (as in the Diffusers form).
        dtype: bfloat16, as the public weights are, or float32; float16 overflows in T5's blocks.
        device: where the encoder goes.

    Raises:
        ArtifactError: naming every file that is missing, or what is wrong with one.
        ConfigError: for a `config.json` of another architecture.
        ValueError: for another dtype.
    """
    if dtype not in _DTYPES:
        message = f"dtype {dtype}: expected one of {', '.join(map(str, _DTYPES))}"
        raise ValueError(message)
    tokenizer_folder = tokenizer_folder or folder
    _refuse_incomplete(folder, tokenizer_folder)
    tokenizer = load_tokenizer(tokenizer_folder)
    config = load_public_config(folder / CONFIG_FILE)
    if tokenizer.vocabulary > config.vocabulary:
        message = (
            f"{tokenizer_folder / TOKENIZER_FILE}: has {tokenizer.vocabulary} tokens, expected at "
            f"most the {config.vocabulary} of {folder / CONFIG_FILE}"
        )
        raise ArtifactError(message)
    with torch.device("meta"):
        encoder = UMT5Encoder(config)
    names = name_map_of(describe_checkpoint(folder))
    load_weights(encoder, folder, rename=names, dtype=dtype, device=device)
    return PromptEncoder(tokenizer, encoder.eval().requires_grad_(False))


def _refuse_incomplete(folder: Path, tokenizer_folder: Path) -> None:
    missing = []
    if not (tokenizer_folder / TOKENIZER_FILE).is_file():
        missing.append(str(tokenizer_folder / TOKENIZER_FILE))
    if not (folder / CONFIG_FILE).is_file():
        missing.append(str(folder / CONFIG_FILE))
    if not has_weights(folder):
        missing.append(str(folder / "*.safetensors") + " (pickles are not read)")
    if missing:
        message = (
            f"{folder}: no prompt encoder, {', '.join(missing)} missing; expected the files of the "
            "public umT5-XXL encoder (Wan2.2-TI2V-5B's), its weights as safetensors"
        )
        raise ArtifactError(message)
