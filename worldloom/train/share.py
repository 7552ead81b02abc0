"""Which part of a batch this process computes, and what all processes found together.

Every process draws the whole batch from the same generator and computes its own rows, so a run on
several processes sees the batches that one process would see, and may go on with another number of
them. It does not know what a batch is made of.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def num_processes() -> int:
    """Return how many processes train together; 1 where none was started."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def own_rows(batch_size: int) -> slice:
    """Return the rows of a batch that this process computes.

    Raises:
        ValueError: when the batch does not divide by the number of processes.
    """
    count = num_processes()
    if batch_size % count:
        message = f"a batch of {batch_size}: expected a multiple of the {count} processes"
        raise ValueError(message)
    size = batch_size // count
    return slice(rank() * size, (rank() + 1) * size)


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all processes, in their order."""
    if num_processes() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(num_processes())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def averaged(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over all processes, which give the same names."""
    if num_processes() == 1:
        return dict(values)
    together = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    torch.distributed.all_reduce(together)
    return dict(zip(values, (together / num_processes()).tolist(), strict=True))
