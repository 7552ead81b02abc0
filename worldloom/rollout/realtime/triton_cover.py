"""A Triton kernel for the greedy cover: one program answers a whole question.

The twin of `memory.cover.greedy_cover_in_torch`, which says what it computes; here is only how. A
session waits for the answer while the GPU is at work on something else, so what counts is to be
one launch: a chain of small ones would wait its turn many times. Everything is in float64, so that
points at a frustum's faces fall as they do on a host. It does not know what is chosen.

Letters: K slots, M points.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEVER = tl.constexpr(1 << 62)  # later than any latent


@triton.jit
def _place(axes, centre, axis: tl.constexpr, k, x, y, z, num_slots):
    at = axes + (axis * num_slots + k) * 3
    there = k < num_slots
    own = tl.load(centre + axis * num_slots + k, mask=there, other=0.0)
    on_x = tl.load(at, mask=there, other=0.0)[:, None] * x[None]
    on_y = tl.load(at + 1, mask=there, other=0.0)[:, None] * y[None]
    on_z = tl.load(at + 2, mask=there, other=0.0)[:, None] * z[None]
    return on_x + on_y + on_z - own[:, None]


@triton.jit
def cover_kernel(
    axes, centre, points, cost, latents, is_open, depths, chosen, seen, unseen,
    tolerance, num_slots, num_points, row_length,
    KEEPS_SINK: tl.constexpr, CHOICES: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Note who sees what [K, row_length], then choose one latent after another."""
    k = tl.arange(0, K)
    near, far = tl.load(depths), tl.load(depths + 1)
    for start in range(0, num_points, BLOCK):
        p = start + tl.arange(0, BLOCK)
        there = p < num_points
        x, y, z = (
            tl.load(points + 3 * p, mask=there, other=0.0),
            tl.load(points + 3 * p + 1, mask=there, other=0.0),
            tl.load(points + 3 * p + 2, mask=there, other=0.0),
        )
        depth = _place(axes, centre, 2, k, x, y, z, num_slots)
        across = tl.abs(_place(axes, centre, 0, k, x, y, z, num_slots))
        down = tl.abs(_place(axes, centre, 1, k, x, y, z, num_slots))
        inside = (across <= depth) & (down <= depth) & (depth > near) & (depth < far)
        inside = inside & there[None]
        tl.store(seen + k[:, None] * row_length + p[None], inside.to(tl.int8))
        tl.store(unseen + p, there.to(tl.int8))
    tl.debug_barrier()
    held = k < num_slots
    latent = tl.load(latents + k, mask=held, other=-1)
    open_slots = tl.load(is_open + k, mask=held, other=0) != 0
    costs = tl.load(cost + k, mask=held, other=0.0)
    for choice in tl.static_range(CHOICES):
        count = tl.zeros((K,), tl.int32)
        for start in range(0, num_points, BLOCK):
            p = start + tl.arange(0, BLOCK)
            sees = tl.load(seen + k[:, None] * row_length + p[None]).to(tl.int32)
            count += tl.sum(sees * tl.load(unseen + p).to(tl.int32)[None], axis=1)
        worth = count.to(tl.float64) / num_points - costs
        if KEEPS_SINK and choice == 0:
            worth = tl.where(k == 0, float("inf"), worth)
        worth = tl.where(open_slots, worth, float("-inf"))
        is_best = open_slots & (worth >= tl.max(worth, axis=0) - tolerance)
        best = tl.min(tl.where(is_best, latent, NEVER), axis=0)
        tl.store(chosen + choice, tl.where(best == NEVER, -1, best))
        is_taken = is_best & (latent == best)
        slot = tl.max(tl.where(is_taken, k, 0), axis=0)
        open_slots = open_slots & (k != slot)
        for start in range(0, num_points, BLOCK):
            p = start + tl.arange(0, BLOCK)
            left = tl.load(unseen + p) * (1 - tl.load(seen + slot * row_length + p))
            tl.store(unseen + p, left.to(tl.int8))
        tl.debug_barrier()
