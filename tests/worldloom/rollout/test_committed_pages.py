"""A page holds one latent's keys and values, in memory of its own."""

import torch

from worldloom.model.attention import BlockContext
from worldloom.rollout.committed_pages import pages_of


def committed(num_blocks=3, num_latents=2, tokens=4):
    shape = (1, num_latents * tokens, 2, 5)
    return [BlockContext(torch.randn(shape), torch.randn(shape)) for _ in range(num_blocks)]


def test_pages_are_the_segments_keys_and_values_latent_by_latent():
    segment = committed()
    for at, page in enumerate(pages_of(segment, 2)):
        tokens = slice(4 * at, 4 * at + 4)
        for mine, its in zip(page, segment, strict=True):
            assert torch.equal(mine.keys, its.keys[:, tokens])
            assert torch.equal(mine.values, its.values[:, tokens])


def test_a_page_stays_when_its_segments_memory_is_written_again():
    segment = committed()
    first, _ = pages_of(segment, 2)
    before = [block.keys.clone() for block in first]
    for block in segment:
        block.keys.zero_()
    assert all(torch.equal(page.keys, old) for page, old in zip(first, before, strict=True))
