"""Which attention is faster at a model's own shape: torch's in full precision, or ours in FP8.

Measured on the device, on random numbers, in a fraction of a second. It does not know networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from worldloom.model.config import TransformerConfig
from worldloom.quantize.rows import FP8
from worldloom.rollout.realtime.attention_memory import fp8_attention, read_heads

_NUM_WARMUP, _NUM_SAMPLES = 5, 11
_TERA = 1e12


@dataclass(frozen=True)
class AttentionChoice:
    """Rates of both, in TFLOP/s."""

    full: float
    fp8: float

    @property
    def wins(self) -> bool:
        """Whether FP8 is faster."""
        return self.fp8 > self.full

    def sentence(self, *, is_fp8: bool) -> str:
        """Say what was chosen, by this measurement or by several processes', and why."""
        name = "FP8" if is_fp8 else "full precision"
        return f"{name} (measured: FP8 {self.fp8:.0f}, full precision {self.full:.0f} TFLOP/s)"


def fp8_attention_wins(
    config: TransformerConfig, dtype: torch.dtype, device: torch.device
) -> AttentionChoice:
    """Measure both on a later segment's queries and keys."""
    tokens, context = config.tokens_per_latent_frame, config.num_context_latents
    num_keys = (context + config.segment_latents) * tokens
    num_queries = config.segment_latents * tokens if config.layout == "stream" else num_keys
    heads, head_dim = config.num_heads, config.head_dim
    generator = torch.Generator(device).manual_seed(0)
    query, keys, values = (
        torch.randn(1, count, heads, head_dim, generator=generator, device=device).to(dtype)
        for count in (num_queries, num_keys, num_keys)
    )
    query8, keys8 = query.to(FP8), keys.to(FP8)
    turned = values.flatten(2)[0].to(FP8).view(torch.uint8).t().contiguous().view(FP8)
    operations = 4 * num_queries * num_keys * heads * head_dim / _TERA
    return AttentionChoice(
        full=operations / _seconds(lambda: read_heads(query, keys, values)),
        fp8=operations / _seconds(lambda: fp8_attention(query8, keys8, turned, dtype)),
    )


def _seconds(run: Callable[[], object]) -> float:
    """Return the median time of a run on the device."""
    for _ in range(_NUM_WARMUP):
        run()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(_NUM_SAMPLES + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    milliseconds: list[float] = [a.elapsed_time(b) for a, b in pairwise(marks)]
    return statistics.median(milliseconds) / 1e3
