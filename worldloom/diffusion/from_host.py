"""Numbers of the host on a device, without anybody waiting for the device to take them.

Noise is drawn on the host, so that a seed means the same everywhere; from pinned memory it goes to
a GPU in the order of its stream. It does not know what the numbers are.
"""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

AnyTensor = Shaped[Tensor, "..."]


def to_device(values: AnyTensor, device: torch.device) -> AnyTensor:
    """Return numbers on a device; on a GPU they arrive before whatever is queued next."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
