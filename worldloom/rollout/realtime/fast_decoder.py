"""The Wan2.2 decoder as a session runs it: its steady chunk compiled, channels last in memory.

Only chunks of the steady length behind others are compiled, since each length costs a compilation;
the first latent, and what a resumed session decodes again, run as they are. Compiled code holds for
one layout in memory, so what goes in and comes out is always laid out alike. It does not know
sessions or streams.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.model.vae.causal_conv import FeatureCache
from worldloom.model.vae.vae_coder import CoderCache
from worldloom.model.vae.wan_vae import Latents, WanVAEDecoder

Video = Float[Tensor, "B RGB F Y X"]
Backend = str | Callable[..., object]


class FastDecoder(WanVAEDecoder):
    """A decoder over another's weights, which it lays out anew."""

    def __init__(
        self, decoder: WanVAEDecoder, chunk_latents: int, *, backend: Backend = "inductor"
    ) -> None:
        """Take a decoder's weights.

        Args:
            decoder: whose.
            chunk_latents: latents of the chunks that are compiled.
            backend: torch's compiler.
        """
        with torch.device("meta"):
            super().__init__(decoder.config)
        self.load_state_dict(decoder.state_dict(), assign=True)
        self.latent_mean, self.latent_std = decoder.latent_mean, decoder.latent_std
        self.lay_channels_last()
        self.eval().requires_grad_(requires_grad=False)
        self._chunk_latents = chunk_latents
        self._compiled = torch.compile(self._steady_chunk, dynamic=False, backend=backend)

    def forward(
        self, latents: Latents, cache: CoderCache | None = None
    ) -> tuple[Video, CoderCache]:
        """Decode as `WanVAEDecoder` does."""
        if cache is None or latents.shape[2] != self._chunk_latents:
            return super().forward(latents, cache)
        past = cache.features
        if not isinstance(cache, _SteadyCache):
            past = {name: _laid_out(features) for name, features in past.items()}
        video, kept = self._compiled(latents.contiguous(), past)
        return video, _SteadyCache(kept)

    def _steady_chunk(self, latents: Tensor, past: FeatureCache) -> tuple[Tensor, FeatureCache]:
        video, cache = super().forward(latents, CoderCache(past))
        return video, {name: _laid_out(features) for name, features in cache.features.items()}


class _SteadyCache(CoderCache):
    """What a steady chunk left, laid out as the next one reads it."""


def _laid_out(features: Tensor) -> Tensor:
    return features.clone(memory_format=torch.channels_last_3d)
