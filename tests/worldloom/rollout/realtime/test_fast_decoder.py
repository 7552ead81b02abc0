"""The fast decoder answers as the plain one and is compiled once, wherever a stream comes from."""

import pytest
import torch
from tiny_wan import tiny_latents, tiny_wan_vae

from worldloom.rollout.realtime.fast_decoder import FastDecoder


@pytest.fixture
def counter():
    """Return a compiler that counts; importing it takes seconds, which only these tests spend."""
    from torch._dynamo.testing import CompileCounter

    return CompileCounter()


@pytest.mark.slow
def test_chunks_answer_as_in_the_plain_decoder_and_one_graph_serves_all(counter):
    plain = tiny_wan_vae().decoder
    fast = FastDecoder(plain, 2, backend=counter)
    counts = set()  # after each steady chunk
    with torch.no_grad():
        for first in (1, 2):  # a session's start, and one that was resumed
            latents = tiny_latents(first + 6)
            expected, cache = plain(latents[:, :, :first])
            found, fast_cache = fast(latents[:, :, :first])
            torch.testing.assert_close(found, expected)
            for chunk in latents[:, :, first:].split(2, dim=2):
                expected, cache = plain(chunk, cache)
                found, fast_cache = fast(chunk, fast_cache)
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
                counts.add(counter.frame_count)
    assert len(counts) == 1
    assert counts != {0}


@pytest.mark.slow
def test_a_chunk_of_another_length_is_decoded_as_it_is(counter):
    plain = tiny_wan_vae().decoder
    fast = FastDecoder(plain, 3, backend=counter)
    latents = tiny_latents(3)
    with torch.no_grad():
        _, cache = plain(latents[:, :, :1])
        torch.testing.assert_close(
            fast(latents[:, :, 1:], cache)[0], plain(latents[:, :, 1:], cache)[0]
        )
    assert counter.frame_count == 0
