"""Which channels a narrower decoder keeps, and what cutting one out returns.

It does not know any decoder's layers: `prune` and `prune_wan` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldloom.model.vae.video_vae import VAEDecoder
from worldloom.model.vae.wan_vae import WanVAEDecoder

DecoderT = TypeVar("DecoderT", VAEDecoder, WanVAEDecoder)


@dataclass(frozen=True)
class PrunedDecoder(Generic[DecoderT]):
    """A narrow decoder and, for each of its features, which of the wide one's channels it kept."""

    decoder: DecoderT
    kept_channels: list[Tensor]


def top_channels(scores: Float[Tensor, " C"], count: int) -> Int[Tensor, " K"]:
    """Return the indices of the `count` highest scores, ascending; ties go to the lower index."""
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[:count].sort().values
