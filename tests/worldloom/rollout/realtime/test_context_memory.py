"""A context's memory takes a session's slots and nothing else."""

import pytest
import torch
from tiny import CONFIG

from worldloom.model.attention import BlockContext
from worldloom.rollout.realtime.attention_memory import FullMemory
from worldloom.rollout.realtime.context_memory import ContextMemory

TOKENS = CONFIG.tokens_per_latent_frame


def memory():
    return ContextMemory(CONFIG, lambda size: FullMemory(size, torch.float32, torch.device("cpu")))


def test_own_tokens_are_always_there():
    made = memory()
    valid = torch.zeros(1, made.num_context, dtype=torch.bool)
    mask = made.seen(0, valid).mask
    assert mask.shape == (1, (CONFIG.num_context_latents + CONFIG.segment_latents) * TOKENS)
    assert not mask[:, : made.num_context].any()
    assert mask[:, made.num_context :].all()
    assert made.seen(0, None).mask is None


def test_a_context_of_another_size_is_refused():
    shape = (1, TOKENS, CONFIG.num_heads, CONFIG.head_dim)
    blocks = [BlockContext(torch.zeros(shape), torch.zeros(shape))] * CONFIG.num_blocks
    rotation = torch.zeros(2, 1, TOKENS, CONFIG.num_heads, CONFIG.head_dim // 2)
    with pytest.raises(ValueError, match=f"context of {TOKENS} tokens"):
        memory().place(blocks, (rotation[0], rotation[1]))
