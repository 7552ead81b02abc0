"""Attention over a segment's few latents at each place, as the action modules need it.

The sequences are as short as a segment and there are as many as a latent has tokens, so a kernel
of ours takes one place and one head at a time; attention kernels made for long sequences would
spend their time on padding. It does not know what mouse and keyboard are.

Letters: B samples, T latents, P places, R = B T P rows, N heads, D channels of a head, H = N D.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.attention import attend
from worldloom.model.rope import Rotation, rotate
from worldloom.rollout.realtime.triton_time import time_kernel

_LEAST_FOR_MATRIX_UNITS = 16


@dataclass(frozen=True)
class PlaceKeys:
    """Keys and values of every place: [R, H] each, or [B T, H] and ready where all share them."""

    keys: Tensor
    values: Tensor
    norm: nn.RMSNorm | None  # of each head's keys; None: normed and turned already, and shared


def attend_in_time(
    query: Float[Tensor, "R H"],
    seen: PlaceKeys,
    norm: nn.RMSNorm,
    rotation: Rotation,
    places: int,
) -> Float[Tensor, "R H"]:
    """Return what each place's latents see of one another.

    Args:
        query: rows in the order sample, latent, place.
        seen: what they look at.
        norm: of each head's queries.
        rotation: cosine and sine [1, T, 1, D/2] of the latents.
        places: P.
    """
    if query.is_cuda:
        return _on_gpu(query, seen, norm, rotation, places)
    times, head_dim = rotation[0].shape[1], norm.normalized_shape[0]

    def by_place(x: Tensor, norm: nn.RMSNorm | None, count: int) -> Tensor:
        heads: Tensor = (
            x.unflatten(-1, (-1, head_dim)).unflatten(0, (-1, times, count)).transpose(1, 2)
        )
        heads = heads.flatten(0, 1)
        if norm is not None:
            heads = rotate(norm(heads), rotation).to(x.dtype)
        return heads.transpose(1, 2)

    count = places if seen.norm is not None else 1
    keys, values = by_place(seen.keys, seen.norm, count), by_place(seen.values, None, count)
    if count == 1:
        keys, values = (x.repeat_interleave(places, dim=0) for x in (keys, values))
    out = attend(by_place(query, norm, places), keys, values)
    rows: Tensor = out.unflatten(0, (-1, places)).permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 2)
    return rows


def _on_gpu(
    query: Tensor, seen: PlaceKeys, norm: nn.RMSNorm, rotation: Rotation, places: int
) -> Tensor:
    cosine, sine = (table[0, :, 0].contiguous() for table in rotation)
    times, head_dim = len(cosine), norm.normalized_shape[0]
    num_rows, width = query.shape
    out = torch.empty(num_rows, width, dtype=query.dtype, device=query.device)
    key_norm = norm if seen.norm is None else seen.norm
    time_kernel[(num_rows // times, width // head_dim)](
        query, seen.keys, seen.values, norm.weight, key_norm.weight, cosine, sine, out,
        query.stride(0), seen.keys.stride(0), width, times, places, norm.eps, head_dim**-0.5,
        IS_SHARED=seen.norm is None, D=head_dim, TIMES=triton.next_power_of_2(times),
        USES_DOT=times >= _LEAST_FOR_MATRIX_UNITS, num_warps=1 if times < 4 else 4,
    )  # fmt: skip
    return out
