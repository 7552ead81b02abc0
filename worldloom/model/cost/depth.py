"""A deep network's figures from shallow ones: blocks of a kind add as much each.

Kinds differ in what they have: actions, text, neither. A figure that is a sum over blocks and over
what is there once is worked out of networks with one or two blocks of each kind, in a fraction of
the time. It does not know which figures those are.
"""

from __future__ import annotations

from itertools import pairwise

from worldloom.model.config import TransformerConfig


def shallow_terms(config: TransformerConfig) -> list[tuple[int, TransformerConfig]]:
    """Return factors and shapes: any such figure is the sum of factor times the shape's figure."""
    first_without = (config.num_action_blocks, config.num_text_blocks)
    edges = sorted({0, config.num_blocks, *(min(at, config.num_blocks) for at in first_without)})
    counts = [end - start for start, end in pairwise(edges)]
    terms = [(1 - sum(count - 1 for count in counts), _with_blocks(config, edges))]
    terms += [
        (count - 1, _with_blocks(config, edges, more_of=kind)) for kind, count in enumerate(counts)
    ]
    return [(factor, shape) for factor, shape in terms if factor]


def _with_blocks(
    config: TransformerConfig, edges: list[int], *, more_of: int | None = None
) -> TransformerConfig:
    """Return the shape with one block of each kind, which end at the edges, and two of one."""
    places = {0: 0}
    for kind, (start, end) in enumerate(pairwise(edges)):
        places[end] = places[start] + (2 if kind == more_of else 1)
    update = {
        name: places[min(vars(config)[name], config.num_blocks)]
        for name in ("num_blocks", "num_action_blocks", "num_text_blocks")
    }
    return config.model_copy(update=update)
