"""Operations of a transformer's passes by part, counted from the real modules as they are called.

The passes run on torch's meta device, where they cost nothing. torch counts the operations; hooks
on the modules say whose they are. A product and its sum are two operations; what is not a product
of matrices (norms, gates, rotations) is not counted, as everywhere in the field. It does not know
bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from pydantic import Field
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from worldloom.config import Config
from worldloom.model.cost.dry_run import committed_segment, later_segment
from worldloom.model.transformer import WorldModelTransformer

_OTHER = "embeddings_and_head"
# A module's operations go to the part whose pattern is its name, except those of modules inside it
# that have a part of their own.
_PARTS = (
    (re.compile(r"blocks\.\d+\.self_attn\.[qkvo]"), "self_projections"),
    (re.compile(r"blocks\.\d+\.self_attn"), "self_products"),
    (re.compile(r"blocks\.\d+\.cross_attn\.[qkvo]"), "cross_projections"),
    (re.compile(r"blocks\.\d+\.cross_attn"), "cross_products"),
    (re.compile(r"blocks\.\d+\.ffn"), "ffn"),
    (re.compile(r"blocks\.\d+\.camera|ray_embed"), "camera"),
    (re.compile(r"blocks\.\d+\.actions"), "action"),
)


class FlopCounts(Config):
    """Operations by part of the network."""

    self_projections: int = Field(0, description="q, k, v and o of self-attention")
    self_products: int = Field(0, description="queries with keys, weights with values")
    cross_projections: int = Field(0, description="q, k, v and o of attention to the prompt")
    cross_products: int = Field(0, description="the products of attention to the prompt")
    ffn: int = Field(0, description="feed-forward layers")
    camera: int = Field(0, description="embedding of rays, camera injectors")
    action: int = Field(0, description="action modules, their attention included")
    embeddings_and_head: int = Field(0, description="patches, places, timesteps, prompt, output")

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.model_dump().values())

    def plus(self, other: FlopCounts, *, times: int = 1) -> FlopCounts:
        """Return the counts of both together, the other's so many times."""
        mine, theirs = self.model_dump(), other.model_dump()
        return FlopCounts(**{part: mine[part] + times * theirs[part] for part in mine})


def count_forward(transformer: WorldModelTransformer) -> tuple[FlopCounts, FlopCounts]:
    """Count a later segment's operations: preparing it, and one evaluation of the network.

    The transformer is on the meta device.
    """
    with torch.device("meta"):
        inputs = later_segment(transformer.config)
        with _counting(transformer) as prepare:
            prepared = transformer.prepare(inputs.conditions)
        with _counting(transformer) as evaluation:
            transformer.denoise(inputs.latents, inputs.sigma, prepared, inputs.context)
    return FlopCounts(**prepare), FlopCounts(**evaluation)


def count_commit(transformer: WorldModelTransformer) -> FlopCounts:
    """Count the operations of committing a segment's latents, prepared for their own anchor.

    The transformer is on the meta device.
    """
    with torch.device("meta"):
        inputs = committed_segment(transformer.config)
        with _counting(transformer) as counts:
            prepared = transformer.prepare(inputs.conditions)
            transformer.commit(inputs.latents, prepared, inputs.context)
    return FlopCounts(**counts)


@contextmanager
def _counting(transformer: WorldModelTransformer) -> Iterator[dict[str, int]]:
    """Yield a dictionary that holds the operations by part once the context is left."""
    counts: dict[str, int] = {}
    counter = FlopCounterMode(display=False)
    running = [_OTHER]  # the parts of the modules that are being called, the innermost last
    seen = 0

    def settle() -> None:
        nonlocal seen
        total = counter.get_total_flops()
        counts[running[-1]] = counts.get(running[-1], 0) + total - seen
        seen = total

    def enter(part: str) -> None:
        settle()
        running.append(part)

    def leave() -> None:
        settle()
        running.pop()

    with ExitStack() as hooks:
        for name, module in transformer.named_modules():
            part = _part_of(name)
            if part is not None:
                _hook(hooks, module, part, enter, leave)
        with counter, torch.inference_mode():
            yield counts
            settle()


def _hook(
    hooks: ExitStack,
    module: nn.Module,
    part: str,
    enter: Callable[[str], None],
    leave: Callable[[], None],
) -> None:
    def before(*_: object) -> None:
        enter(part)

    def after(*_: object) -> None:
        leave()

    hooks.callback(module.register_forward_pre_hook(before).remove)
    hooks.callback(module.register_forward_hook(after).remove)


def _part_of(name: str) -> str | None:
    return next((part for pattern, part in _PARTS if pattern.fullmatch(name)), None)
