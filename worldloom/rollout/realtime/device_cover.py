"""The greedy cover answered by a GPU on a stream of its own, beside whatever it is doing.

A question comes from the host and its answer goes back there: a few kilobytes either way through
pinned memory, one kernel in between. Nobody waits for the work that is queued on other streams. It
does not know sessions.

Letters: K slots, M points, S choices.
"""

from __future__ import annotations

import torch
import triton
from jaxtyping import Int
from torch import Tensor

from worldloom.memory.cover import CoverQuestion
from worldloom.memory.retrieval import TIE_TOLERANCE
from worldloom.rollout.realtime.triton_cover import cover_kernel

_BLOCK = 64
_NUM_WARPS = 8


class DeviceCover:
    """Answers on one GPU."""

    def __init__(self, device: torch.device) -> None:
        """Take the GPU."""
        self._device = device
        self._stream = torch.cuda.Stream(device, priority=-1)

    def __call__(self, question: CoverQuestion) -> Int[Tensor, " S"]:
        """Return the chosen latents on the host."""
        with torch.cuda.stream(self._stream):
            chosen = answer(question, self._device)
            on_host = torch.empty(chosen.shape, dtype=chosen.dtype, pin_memory=True)
            on_host.copy_(chosen, non_blocking=True)
            self._stream.synchronize()
        return on_host


def answer(question: CoverQuestion, device: torch.device) -> Int[Tensor, " S"]:
    """Return the chosen latents where the kernel runs, without waiting."""
    numbers = [
        question.cameras.axes,
        question.cameras.centre,
        question.points,
        question.cost,
        question.latent_indices.double(),  # exact far beyond any session's length
        question.is_open.double(),
        question.cost.new_tensor([question.frustum.near_metres, question.frustum.far_metres]),
    ]
    packed = torch.cat([number.flatten() for number in numbers])
    if device.type == "cuda":
        packed = packed.pin_memory().to(device, non_blocking=True)
    axes, centre, points, cost, latents, is_open, depths = packed.split(
        [number.numel() for number in numbers]
    )
    num_slots, num_points = len(cost), len(question.points)
    num_rows = triton.next_power_of_2(num_slots)
    row_length = -(-num_points // _BLOCK) * _BLOCK
    seen = torch.empty(num_rows, row_length, dtype=torch.int8, device=device)
    unseen = torch.empty(row_length, dtype=torch.int8, device=device)
    chosen = torch.empty(question.num, dtype=torch.int64, device=device)
    cover_kernel[(1,)](
        axes, centre, points, cost, latents, is_open, depths, chosen, seen, unseen,
        TIE_TOLERANCE, num_slots, num_points, row_length,
        KEEPS_SINK=question.keep_sink, CHOICES=question.num, K=num_rows, BLOCK=_BLOCK,
        num_warps=_NUM_WARPS,
    )  # fmt: skip
    return chosen
