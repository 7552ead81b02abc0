"""What is kept of a module with 8-bit layers: those as they are, everything else in 16 bits.

In a small network the layers that keep their precision are a sixth of the parameters, and in 32
bits they would be a third of the bytes. Whoever compares or ships such a module rounds it first
(`round_to_stored`), so that what was compared is what comes back. It does not know files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldloom.quantize.eight_bit_linear import EightBitLinear

STORED_DTYPE = torch.float16


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state as it is kept; in full precision where no layer is 8-bit."""
    kept = {
        f"{name}.{of_layer}"
        for name, layer in module.named_modules()
        if isinstance(layer, EightBitLinear)
        for of_layer in (layer.weight_name, "weight_scale")
    }
    return {
        name: value.to(STORED_DTYPE)
        if kept and name not in kept and value.is_floating_point()
        else value
        for name, value in module.state_dict().items()
    }


def round_to_stored(module: nn.Module) -> None:
    """Give a module the values that it would come back with."""
    module.load_state_dict(stored_tensors(module))


def stored_bytes(module: nn.Module) -> int:
    """Return the bytes of what is kept of a module."""
    return sum(value.nbytes for value in stored_tensors(module).values())
