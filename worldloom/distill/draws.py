"""What an update of a distillation draws: choices on the host, noise where it is wanted.

Choices decide what is computed, so the host must know them. Noise is most of the numbers: drawn on
the host it means the same everywhere, and takes longer there than a small network's passes take on
a GPU. It does not know what is drawn for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.diffusion.from_host import to_device


@dataclass(frozen=True)
class Draws:
    """Two generators, which may be one."""

    choices: torch.Generator
    noise: torch.Generator

    @classmethod
    def of_host(cls, generator: torch.Generator) -> Draws:
        """Draw both from one generator of the host."""
        return cls(generator, generator)

    @classmethod
    def with_noise_on(cls, device: torch.device, generator: torch.Generator) -> Draws:
        """Draw choices from a generator of the host, and noise from one on a device."""
        seed = int(torch.randint(0, 1 << 62, (), generator=generator))
        return cls(generator, torch.Generator(device).manual_seed(seed))

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Float[Tensor, ...]:
        """Return standard normal numbers on a device."""
        drawn = torch.randn(shape, generator=self.noise, device=self.noise.device)
        return to_device(drawn, device)
