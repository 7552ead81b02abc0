"""Muon: matrices of hidden layers are moved by their orthogonalised momentum, the rest by AdamW.

A gradient's momentum is replaced by the nearest matrix whose singular values are about 1, so that
no direction of a layer waits for the strong ones (Jordan et al. 2024, "Muon: an optimizer for
hidden layers"). A rate is given per root mean square of an update, as AdamW's is: 0.2 of it
(Liu et al. 2025, "Muon is scalable for LLM training", eq. 4). torch's own Muon computes the same
one matrix at a time, which a small network waits for; here all of one shape are one batch. It does
not know which rate to take, nor what is trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, as published
_ITERATIONS = 5
_MOMENTUM = 0.95
_LEAST_NORM = 1e-7
_RMS = 0.2  # of AdamW's usual update


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Tell whether a parameter is a matrix of a transformer's blocks: no embedding, no head."""
    return parameter.dim() == 2 and name.startswith("blocks.")


class Muon(torch.optim.Optimizer):
    """Muon for some matrices, AdamW for groups of other parameters.

    A matrix's momentum is kept as `exp_avg`, the name of AdamW's first moment.
    """

    def __init__(
        self,
        matrices: Mapping[str, Any],
        others: Sequence[Mapping[str, Any]],
        *,
        rate: float,
        betas: tuple[float, float],
        fused: bool,
    ) -> None:
        """Take the group of matrices and the groups of AdamW."""
        groups = [dict(matrices), *(dict(group) for group in others)]
        super().__init__(groups, {"lr": rate, "weight_decay": 0.0})
        self._adamw = torch.optim.AdamW(self.param_groups[1:], lr=rate, betas=betas, fused=fused)
        self._adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update everything that has a gradient."""
        if closure is not None:
            message = "Muon: a closure, expected gradients that are there"
            raise ValueError(message)
        group = self.param_groups[0]
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        for shape, members in by_shape.items():
            directions = orthogonalised(self._nesterov(members))
            torch._foreach_mul_(members, 1 - group["lr"] * group["weight_decay"])
            length = _RMS * max(shape) ** 0.5
            torch._foreach_add_(members, directions.unbind(), alpha=-group["lr"] * length)
        self._adamw.step()

    def _nesterov(self, members: Sequence[Tensor]) -> Float[Tensor, "N rows columns"]:
        """Return gradients looked ahead along their momentum, which takes them in."""
        gradients = [parameter.grad for parameter in members if parameter.grad is not None]
        momenta = [self._momentum(parameter) for parameter in members]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        return torch.stack(gradients).lerp(torch.stack(momenta), _MOMENTUM)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter)
        momentum: Tensor = state["exp_avg"]
        return momentum


def orthogonalised(
    matrices: Float[Tensor, "N rows columns"],
) -> Float[Tensor, "N rows columns"]:
    """Return matrices of the same singular vectors whose singular values are near 1.

    Five quintic Newton-Schulz iterations in bfloat16: values end between about 0.7 and 1.2.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if is_tall else matrices).bfloat16()
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=_LEAST_NORM)
    first, second, third = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(
            wide, torch.baddbmm(gram, gram, gram, beta=second, alpha=third), wide, beta=first
        )
    return (wide.mT if is_tall else wide).to(matrices.dtype)


def split_matrices(
    named: Iterable[tuple[str, nn.Parameter]],
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Return the hidden matrices by name, and all others."""
    matrices: dict[str, nn.Parameter] = {}
    others: dict[str, nn.Parameter] = {}
    for name, parameter in named:
        (matrices if is_hidden_matrix(name, parameter) else others)[name] = parameter
    return matrices, others
