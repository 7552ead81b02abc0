"""Runs every Triton kernel beside its formula and prints how far apart they are; not a test.

Kernels are interpreted on the CPU, which must be asked for before they are imported: so this is a
program of its own (`TRITON_INTERPRET=1 python kernel_twins.py`), and tests read what it prints.
The interpreter truncates where a GPU rounds to FP8, so here 8 bits are INT8, and attention's
products are in float32.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from worldloom.bench.walk import random_walk
from worldloom.camera import Intrinsics
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import CoverQuestion, greedy_cover_in_torch
from worldloom.memory.keyframe_index import KeyframeIndex
from worldloom.quantize.rows import INT8, Rows
from worldloom.rollout.realtime import (
    attention_memory,
    rows,
    time_attention,
)
from worldloom.rollout.realtime.attention_memory import fp8_attention, read_heads
from worldloom.rollout.realtime.device_cover import answer
from worldloom.rollout.realtime.product import Product
from worldloom.rollout.realtime.rows import Residual, Update
from worldloom.rollout.realtime.time_attention import PlaceKeys

R, E, G = 6, 48, 3
GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def drawn_norm(norm: nn.Module) -> nn.Module:
    for parameter in norm.parameters():
        parameter.data.copy_(draw(*parameter.shape))
    return norm


def drawn_products(width: int = E) -> dict[str, Product]:
    sums, by_row, by_column, bias = draw(R, width), draw(R, 1), draw(width), draw(width)
    return {
        "finished": Product(sums),
        "scaled": Product(sums, by_row, by_column),
        "scaled and biased": Product(sums, by_row, by_column, bias),
    }


def products_of_heads() -> dict[str, Product]:
    """Products whose rows may stand apart, as parts of a wider product do."""
    return drawn_products() | {"apart": Product(draw(R, 3 * E)[:, E : 2 * E], draw(R, 1), draw(E))}


def value(found: Rows) -> Tensor:
    return found.values.float() * (1 if found.scale is None else found.scale)


def apart(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).abs().max() / expected.abs().max())


def updates() -> Iterator[tuple[str, float]]:
    x, gate, products = draw(R, E), draw(G, 6, E), drawn_products()
    added = products["finished"]
    camera = draw(R, E), draw(R, E)
    affine, plain = drawn_norm(nn.LayerNorm(E)), nn.LayerNorm(E, elementwise_affine=False)
    cases: dict[str, tuple[Residual, Update]] = {
        "nothing": (Residual(x), Update()),
        "added": (Residual(x, added), Update()),
        "replaced": (
            Residual(x, added, gate[:, 2]),
            Update(camera, affine, replaces=True),
        ),
        "modulated": (
            Residual(x, added, gate[:, 2]),
            Update(None, plain, (gate[:, 1], gate[:, 0])),
        ),
        "camera": (Residual(x, added), Update(camera)),
        "scaled": (Residual(x, products["scaled"], gate[:, 2]), Update()),
        "biased": (Residual(x, products["scaled and biased"]), Update(None, affine)),
    }
    for name, case in cases.items():
        for row_format in (None, INT8):
            expected, found = rows.update(*case, row_format), rows._update_on_gpu(*case, row_format)
            yield f"update {name} {row_format} stream", apart(expected[0], found[0])
            yield f"update {name} {row_format} rows", apart(value(expected[1]), value(found[1]))


def activations() -> Iterator[tuple[str, float]]:
    for kind, product in drawn_products().items():
        for activation in ("none", "gelu", "silu"):
            for row_format, offset in ((None, draw(G, E)), (INT8, None), (INT8, draw(G, E))):
                arguments = product, activation, row_format, offset
                expected, found = rows.activate(*arguments), rows._activate_on_gpu(*arguments)
                name = f"activate {kind} {activation} {row_format} {offset is not None}"
                yield name, apart(value(expected), value(found))


def turns() -> Iterator[tuple[str, float]]:
    batch, length, heads, head_dim = 2, 3, 4, 12
    rotation = draw(batch, length, heads, head_dim // 2), draw(batch, length, heads, head_dim // 2)
    norm = drawn_norm(nn.RMSNorm(E, eps=1e-6))
    for name, arguments in {
        "normed and turned": (norm, rotation),
        "turned": (None, rotation),
        "normed": (norm, None),
    }.items():
        for kind, product in products_of_heads().items():
            buffers, plains = torch.zeros(2, batch, 8, heads, head_dim), draw(2, R, E)
            rows.turn_into(buffers[0], 4, product, *arguments, plains[0])
            rows._turn_on_gpu(buffers[1], 4, product, *arguments, plains[1])
            yield f"turn {kind} {name}", apart(*buffers)
            yield f"turn {kind} {name}, before", apart(*plains)


def times() -> Iterator[tuple[str, float]]:
    places, heads, head_dim, batch = 5, 2, 16, 2
    norm, key_norm = (drawn_norm(nn.RMSNorm(head_dim, eps=1e-6)) for _ in range(2))
    for count in (3, 17):  # multiplied out, and by matrix units
        query, keys, values = draw(batch * count * places, 3 * heads * head_dim).chunk(3, -1)
        angles = draw(1, count, 1, head_dim // 2)
        rotation = angles.cos(), angles.sin()
        shared = PlaceKeys(*draw(2, batch * count, heads * head_dim), None)
        for name, seen in {"own": PlaceKeys(keys, values, key_norm), "shared": shared}.items():
            arguments = query, seen, norm, rotation, places
            found = time_attention._on_gpu(*arguments)
            yield (
                f"time {count} {name}",
                apart(time_attention.attend_in_time(*arguments), found),
            )


def transposes() -> Iterator[tuple[str, float]]:
    for kind, product in products_of_heads().items():
        out = torch.zeros(2 * E, 16)
        attention_memory.lay_values(product, out, 2, 5)
        expected = torch.zeros(2, E, 16)
        # 8 a + 2 q + b goes to 4 q + 2 a + b: 5 is (0, 2, 1), 6 is (0, 3, 0), 7 is (0, 3, 1)
        expected[:, :, [9, 12, 13]] = product.finished().unflatten(0, (2, -1)).transpose(1, 2)
        yield f"transpose {kind}", apart(expected.flatten(0, 1), out)


def attentions() -> Iterator[tuple[str, float]]:
    batch, heads, head_dim = 2, 2, 32
    for length, seen, masked in ((70, 256, False), (70, 160, False), (64, 150, True)):
        query, keys = draw(batch, length, heads, head_dim), draw(batch, seen, heads, head_dim)
        values = draw(batch, seen, heads, head_dim)
        mask = None
        if masked:
            mask = torch.rand(batch, seen, generator=GENERATOR) < 0.5
            mask[:, :130] = False  # a whole tile of keys that nobody may see
            mask[:, -1] = True
        turned = torch.zeros(batch * heads * head_dim, -(-seen // 16) * 16)
        attention_memory.lay_values(Product(values.reshape(-1, heads * head_dim)), turned, batch, 0)
        expected = read_heads(query, keys, values, None if mask is None else mask[:, None, None])
        for least in (1, 1000):  # long queries' tiles, and short ones'
            attention_memory._LONG_QUERIES = least
            found = fp8_attention(query, keys, turned, torch.float32, mask)
            yield f"attention {length} {seen} {masked} {least}", apart(expected, found)


def covers() -> Iterator[tuple[str, float]]:
    poses = torch.from_numpy(random_walk(np.random.default_rng(0), 4 * 60)[::4])
    for capacity, held, num_queries, keeps_sink in (
        (16, 6, 3, True),  # fewer than choices
        (40, 55, 1, True),
        (40, 55, 3, False),
    ):
        asked = []

        def both(question: CoverQuestion, asked: list = asked) -> Tensor:
            expected = greedy_cover_in_torch(question)
            asked.append(float(not torch.equal(answer(question, torch.device("cpu")), expected)))
            return expected

        retrieval = RetrievalConfig(depths=4, rows=2, cols=4)
        camera = Intrinsics.from_fov(64, 64)
        index = KeyframeIndex(
            BankConfig(capacity=capacity, recent_latents=4), retrieval, camera, cover=both
        )
        for pose in poses[:held]:
            index.append(pose)
        index.query(poses[held : held + num_queries], 8, held - 4, keep_sink=keeps_sink)
        yield f"cover {capacity} {held} {num_queries} {keeps_sink}", asked[0]


if __name__ == "__main__":
    with torch.no_grad():
        kinds = (updates, activations, turns, times, transposes, attentions, covers)
        sys.stdout.write(json.dumps({name: error for kind in kinds for name, error in kind()}))
