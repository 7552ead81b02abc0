"""A segment's committed keys and values as pages, one a latent, each in memory of its own.

What becomes memory later are single latents, so single latents are kept: a page can stay when the
rest of its segment goes. It does not know which latents are worth keeping.

Letters: T latents of a segment, P tokens of a latent, N heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from worldloom.model.attention import BlockContext

Page = list[BlockContext]  # keys and values [1, P, N, D], block by block


def pages_of(committed: Sequence[BlockContext], num_latents: int) -> list[Page]:
    """Return the pages of a segment's latents, copied from keys and values [1, T P, N, D]."""
    by_latent = zip(
        *(x.chunk(num_latents, dim=1) for block in committed for x in (block.keys, block.values)),
        strict=True,
    )
    pages = []
    for its in by_latent:
        page = its[0].new_empty(len(its), *its[0].shape)
        torch._foreach_copy_(list(page), list(its))
        keys_and_values = zip(page[::2], page[1::2], strict=True)
        pages.append([BlockContext(*pair) for pair in keys_and_values])
    return pages
